//! Documents: index, manifest and configuration, the three kinds of JSON that describe an image. Pure.
//!
//! An index points at manifests, a manifest at one configuration and the layers. Read strictly: two programs that
//! understand the same bytes differently are how CVE-2021-41190 worked.
//! OCI image-spec: image-index.md, manifest.md, config.md; Docker: "Image Manifest V2, Schema 2".

use anyhow::{Context, Result, anyhow, bail, ensure};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;

use crate::digest::{Digest, chain_id};
use crate::text::escape;

/// The most bytes a manifest, index, configuration or token may have.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// The most layers an image may have: what one overlay mount can stack (`OVL_MAX_STACK` in the kernel).
pub const MAX_LAYERS: usize = 500;

/// The most lines of history an image may have. Builders write one for each instruction; a million would only fill
/// the memory.
pub const MAX_HISTORY: usize = 10_000;

/// What to ask a registry for, all four kinds.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// Either kind of document a name can lead to.
#[derive(Debug)]
pub enum Document {
    /// One manifest for each platform.
    Index(Box<ImageIndex>),
    /// One image.
    Manifest(Box<ImageManifest>),
}

/// Where the bytes of one layer are to be found, and what they must be.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerBlob {
    /// Digest of the layer's tar archive, uncompressed.
    pub diff_id: Digest,
    /// Names this layer and all below it.
    pub chain_id: Digest,
    /// Digest and size of the blob as it is stored, usually compressed. A docker archive does not tell them.
    pub blob: Option<(Digest, u64)>,
    /// Name of the entry that holds the layer, in a docker archive.
    pub entry: String,
}

/// An image as its documents describe it, checked.
#[derive(Clone, Debug)]
pub struct Described {
    /// The configuration, byte by byte as it came: its digest is the image id.
    pub config_bytes: Vec<u8>,
    /// The same, parsed.
    pub config: ImageConfiguration,
    /// The layers, lowest first.
    pub layers: Vec<LayerBlob>,
}

impl Described {
    /// The image id.
    pub fn id(&self) -> Digest {
        Digest::of(&self.config_bytes)
    }
}

/// Reads a manifest or an index. `content_type` is what the server or the descriptor called it.
pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Document> {
    let outline: Outline = read(bytes, "the manifest")?;
    if outline.fs_layers.is_some() || outline.schema_version == Some(1) {
        bail!(
            "the image has the manifest of schema 1, which ended in 2017 and names no digests that could be verified; push it again with a current tool"
        );
    }
    let index = outline.manifests.is_some();
    ensure!(
        !(index && (outline.layers.is_some() || outline.config.is_some())),
        "the manifest is an index and an image at once, which is an attack or a bug of whoever made it (CVE-2021-41190)"
    );
    let layers = outline.layers.map_or(0, |layers| layers.len());
    ensure!(
        layers <= MAX_LAYERS,
        "the manifest has {layers} layers; the kernel's overlay stacks at most {MAX_LAYERS}, so flatten the image first"
    );
    let own_type = outline.media_type.as_deref();
    let generic = |t: &str| {
        matches!(
            t,
            "application/json" | "application/octet-stream" | "text/plain"
        )
    };
    let content_type = content_type
        .map(|t| t.split(';').next().unwrap_or(t).trim())
        .filter(|t| !generic(t));
    if let (Some(said), Some(own)) = (content_type, own_type)
        && said != own
    {
        bail!(
            "the manifest is sent as \"{}\" but calls itself \"{}\"",
            escape(said),
            escape(own)
        );
    }
    match content_type.or(own_type).map(MediaType::from) {
        Some(MediaType::ImageIndex) => ensure!(
            index,
            "the manifest is called an index but lists no manifests"
        ),
        Some(MediaType::ImageManifest) => {
            ensure!(!index, "the manifest is called an image but is an index")
        }
        Some(MediaType::Other(t)) if t == DOCKER_LIST => {
            ensure!(index, "the manifest list lists no manifests")
        }
        Some(MediaType::Other(t)) if t == DOCKER_MANIFEST => {
            ensure!(!index, "the manifest is called an image but is an index")
        }
        Some(other) => bail!(
            "unsupported manifest media type \"{}\"",
            escape(other.as_ref())
        ),
        None => {}
    }
    if index {
        Ok(Document::Index(read(bytes, "the image index")?))
    } else {
        Ok(Document::Manifest(read(bytes, "the image manifest")?))
    }
}

/// Reads JSON as what it should be: an object, not an array with the same values in order, which serde would take.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T> {
    ensure!(
        bytes.trim_ascii_start().first() == Some(&b'{'),
        "{what} is no JSON object"
    );
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        // What the document says may be part of the text.
        Category::Data => anyhow!("cannot read {what}: {}", escape(&error.to_string())),
        _ => anyhow!("{what} is not valid JSON: {}", escape(&error.to_string())),
    })
}

/// What a manifest or an index is recognised by. A key that is there twice is an error, since one reader would believe
/// the first and another the last. The lists are only counted, which costs no memory, whatever is in them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Vec<IgnoredAny>>,
    layers: Option<Vec<IgnoredAny>>,
    config: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// The lists of a configuration, counted before they are read.
#[derive(Deserialize)]
struct ConfigOutline {
    history: Option<Vec<IgnoredAny>>,
    rootfs: RootFsOutline,
}

#[derive(Deserialize)]
struct RootFsOutline {
    diff_ids: Vec<IgnoredAny>,
}

/// Puts a manifest and its configuration together, and checks that they fit.
pub fn describe(manifest: &ImageManifest, config_bytes: Vec<u8>) -> Result<Described> {
    let config = parse_config(&config_bytes)?;
    let diff_ids = config.rootfs().diff_ids();
    let layers = manifest.layers();
    ensure!(
        layers.len() == diff_ids.len(),
        "the manifest has {} layers but the configuration names {} of them",
        layers.len(),
        diff_ids.len()
    );
    let blobs = layers.iter().map(layer_blob).collect::<Result<Vec<_>>>()?;
    let layers = stack(diff_ids, blobs)?;
    Ok(Described {
        config_bytes,
        config,
        layers,
    })
}

/// Reads an image configuration.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfiguration> {
    let outline: ConfigOutline = read(bytes, "the image configuration")?;
    let (layers, history) = (
        outline.rootfs.diff_ids.len(),
        outline.history.map_or(0, |lines| lines.len()),
    );
    ensure!(
        layers <= MAX_LAYERS,
        "the image has {layers} layers; the kernel's overlay stacks at most {MAX_LAYERS}, so flatten it first"
    );
    ensure!(
        history <= MAX_HISTORY,
        "the image has {history} lines of history, more than {MAX_HISTORY}; build it again with fewer"
    );
    read(bytes, "the image configuration")
}

/// Gives each blob its diff_id and ChainID.
pub fn stack(
    diff_ids: &[String],
    blobs: Vec<(Option<(Digest, u64)>, String)>,
) -> Result<Vec<LayerBlob>> {
    let mut layers: Vec<LayerBlob> = Vec::new();
    for (diff_id, (blob, entry)) in diff_ids.iter().zip(blobs) {
        let diff_id: Digest = diff_id
            .parse()
            .context("cannot read the diff_ids of the image configuration")?;
        let chain_id = chain_id(layers.last().map(|l| &l.chain_id), &diff_id);
        layers.push(LayerBlob {
            diff_id,
            chain_id,
            blob,
            entry,
        });
    }
    Ok(layers)
}

/// The digest in a descriptor, strictly read.
pub fn digest_of(descriptor: &Descriptor) -> Result<Digest> {
    descriptor.digest().to_string().parse()
}

/// Refuses what is no image, such as a Helm chart or a signature, before anything is downloaded.
pub fn check_config_type(manifest: &ImageManifest) -> Result<()> {
    let kind = manifest.config().media_type().to_string();
    match kind.as_str() {
        "application/vnd.oci.image.config.v1+json"
        | "application/vnd.docker.container.image.v1+json" => Ok(()),
        "application/octet-stream" | "application/json" => Ok(()),
        other => bail!(
            "this is no container image but an artifact of type \"{}\"",
            escape(other)
        ),
    }
}

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Any kind of tar will do: whether it is compressed, and how, is seen from its first bytes.
fn layer_blob(descriptor: &Descriptor) -> Result<(Option<(Digest, u64)>, String)> {
    let kind = descriptor.media_type().to_string();
    let tar = kind.starts_with("application/vnd.oci.image.layer.")
        || kind.starts_with("application/vnd.docker.image.rootfs.")
        || kind == "application/octet-stream";
    ensure!(
        tar,
        "unsupported layer media type \"{}\": only tar archives are known here",
        escape(&kind)
    );
    Ok((
        Some((digest_of(descriptor)?, descriptor.size())),
        String::new(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    fn refused(json: &str, kind: Option<&str>, part: &str) {
        let error = format!("{:#}", parse(json.as_bytes(), kind).expect_err(json));
        assert!(error.contains(part), "{json}: {error}");
    }

    #[test]
    fn documents_are_what_they_are_called() {
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(
            parse(index.as_bytes(), Some(INDEX)),
            Ok(Document::Index(_))
        ));
        assert!(matches!(
            parse(index.as_bytes(), None),
            Ok(Document::Index(_))
        ));
        refused(index, Some(MANIFEST), "is an index");
        refused(index, Some("text/html"), "unsupported manifest media type");
        refused(
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
            None,
            "at once",
        );
        refused(r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema 1");
        refused(
            r#"{"schemaVersion":2,"mediaType":"x/y","manifests":[]}"#,
            Some(INDEX),
            "calls itself",
        );
        refused(r#"{"schemaVersion":2,"layers":"#, None, "not valid JSON");
        refused(
            r#"{"schemaVersion":2}"#,
            None,
            "cannot read the image manifest",
        );
        for other in ["null", "", "[2]"] {
            refused(other, None, "the manifest is no JSON object");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        for json in [
            r#"{"schemaVersion":2,"manifests":[],"manifests":null,"config":null,"layers":[]}"#,
            r#"{"schemaVersion":2,"mediaType":"a","mediaType":"b","manifests":[]}"#,
            r#"{"schemaVersion":2,"layers":[],"config":{"size":1,"size":2}}"#,
        ] {
            refused(json, None, "duplicate field");
        }
        let twice = br#"{"os":"linux","os":"linux","architecture":"amd64",
            "rootfs":{"type":"layers","diff_ids":[]}}"#;
        let error = format!("{:#}", parse_config(twice).unwrap_err());
        assert!(error.contains("duplicate field"), "{error}");
    }

    #[test]
    fn a_million_of_anything_is_counted_not_stored() {
        let million = vec!["{}"; 1_000_000].join(",");
        refused(
            &format!(r#"{{"schemaVersion":2,"layers":[{million}]}}"#),
            None,
            "1000000 layers",
        );
        let config = |history: &str, ids: &str| {
            let json = format!(
                r#"{{"os":"linux","architecture":"amd64","history":[{history}],
                "rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#
            );
            format!("{:#}", parse_config(json.as_bytes()).unwrap_err())
        };
        assert!(config(&million, "").contains("1000000 lines of history"));
        assert!(config("", &million).contains("1000000 layers"));
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        for open in ["[", "{\"a\":"] {
            let deep = open.repeat(200_000);
            refused(&format!("{{\"x\":{deep}"), None, "not valid JSON");
            refused(&format!("{{\"layers\":{deep}"), None, "the manifest");
        }
    }
}
