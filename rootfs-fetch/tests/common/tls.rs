//! Certificates: an authority that the scratch world trusts, and what servers show.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};

use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How a server's certificate is.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// Right in all respects.
    Right,
    /// For another host.
    WrongName,
    /// Of the year 2001.
    Expired,
    /// Signed by itself.
    OwnAuthority,
}

fn authority() -> &'static CertifiedIssuer<'static, KeyPair> {
    static AUTHORITY: OnceLock<CertifiedIssuer<'static, KeyPair>> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    })
}

/// The authority's certificate as the file that `SSL_CERT_FILE` names.
pub fn trusted() -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(authority().der());
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

fn certificate(shown: Shown) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let name = match shown {
        Shown::WrongName => "example.com",
        _ => "0.0.0.0",
    };
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if let Shown::Expired = shown {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let signed = match shown {
        Shown::OwnAuthority => params.self_signed(&key),
        _ => params.signed_by(&key, authority()),
    };
    (
        signed.unwrap().into(),
        PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    )
}

/// TLS in front of the server at `address`: its own address. Ends with the process.
pub fn in_front_of(address: &str, shown: Shown) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (certificate, key) = certificate(shown);
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (config, to) = (Arc::new(config), address.to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let stream = StreamOwned::new(connection, stream.unwrap());
            // A client that does not like the certificate hangs up.
            let _ = relay(stream, &to);
        }
    });
    format!("0.0.0.0:{}", address.port())
}

/// One request at a time, which is all that is needed here: what the client says, then all that comes back.
fn relay(mut client: StreamOwned<ServerConnection, TcpStream>, to: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let mut server = TcpStream::connect(to)?;
    server.write_all(&request)?;
    server.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}
