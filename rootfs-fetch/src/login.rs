//! Logging in: credentials are shown to a registry, to be written down if it takes them.
//!
//! `GET /v2/` is what a registry answers with 401 until it knows who asks. OCI distribution-spec, "Determining support".

use anyhow::{Result, bail, ensure};
use reqwest::Url;
use reqwest::header::WWW_AUTHENTICATE;

use crate::auth::{self, Challenge};
use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::http::{Http, Patience, Request, host};
use crate::registries_conf::RegistriesConf;
use crate::text::escape;

/// Asks the registry (host and port) whether it knows the owner of `credentials`. One that asks nobody for any is
/// content with all, as with Docker. `before_lookup` is called once, before a name is looked up.
///
/// # Errors
/// It is not reached, or does not take them: in Docker's words.
pub fn check(
    registry: &str,
    credentials: &Credentials,
    patience: Patience,
    before_lookup: fn(),
) -> Result<()> {
    let location = RegistriesConf::system()?.host(registry)?;
    before_lookup();
    let http = Http::new(patience);
    let (base, trust) = Endpoint::new(location).base(&http)?;
    let url = base.join("/v2/")?;
    let mut request = Request::get(url.clone(), trust);
    let first = http.send(&request)?;
    if first.status().is_success() {
        return Ok(());
    }
    ensure!(
        first.status().as_u16() == 401,
        "Get \"{url}\": {} answers {}, which no registry does",
        host(&base),
        first.status()
    );
    let values = first.headers().get_all(WWW_AUTHENTICATE).iter();
    let challenges = auth::challenges(values.filter_map(|v| v.to_str().ok()));
    let mut why = String::new();
    for challenge in &challenges {
        require_trusted(&base, challenge)?;
        match auth::answer(&http, &base, trust, challenge, "", Some(credentials)) {
            Ok(Some(header)) => {
                request.authorization = Some(header);
                if http.send(&request)?.status().is_success() {
                    return Ok(());
                }
            }
            Ok(None) => {}
            Err(error) => why = format!(": {error:#}"),
        }
    }
    bail!("Get \"{url}\": unauthorized: incorrect username or password{why}")
}

/// A token server that may not see the password says nothing about it.
fn require_trusted(base: &Url, challenge: &Challenge) -> Result<()> {
    let Challenge::Bearer { realm, .. } = challenge else {
        return Ok(());
    };
    let trusted = Url::parse(realm).is_ok_and(|realm| auth::may_see_credentials(base, &realm));
    ensure!(
        trusted,
        "{} wants the password sent to {}, over a connection that others may read",
        host(base),
        escape(realm)
    );
    Ok(())
}
