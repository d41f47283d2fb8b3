//! The flags of the verbs about images.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

/// The flags of `pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// Set platform, such as linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Name of the image, with a tag or a digest
    #[arg(value_name = "NAME")]
    pub image: String,
}

/// The flags of `images`.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Show all images (there are no hidden ones)
    #[arg(short, long)]
    pub all: bool,
    /// Only show image IDs
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Filter output: dangling, label, before, since
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Name of the image, with a tag
    #[arg(value_name = "REPOSITORY")]
    pub repository: Option<String>,
}

/// The flags of `rmi`.
#[derive(Debug, Args)]
pub struct RmiArgs {
    /// Force removal of the image
    #[arg(short, long)]
    pub force: bool,
    /// Names or IDs
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// The flags of `tag`.
#[derive(Debug, Args)]
pub struct TagArgs {
    /// Name or ID of an image
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    pub source: String,
    /// Its further name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    pub target: String,
}

/// The flags of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub human: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    pub quiet: bool,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Name or ID
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// The flags of `load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Read from a tar archive file or an OCI layout directory, instead of the standard input
    #[arg(short, long, value_name = "PATH")]
    pub input: Option<PathBuf>,
    /// Suppress the load output
    #[arg(short, long)]
    pub quiet: bool,
}

/// The flags of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A tarball, or - for the standard input
    #[arg(value_name = "FILE|-")]
    pub source: PathBuf,
    /// Name of the image, with a tag
    #[arg(value_name = "REPOSITORY")]
    pub name: Option<String>,
}

/// The flags of `image inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Format output: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Names or IDs
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// The verbs of `rmac image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Download an image from a registry
    Pull(PullArgs),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Show the history of an image
    History(HistoryArgs),
    /// Remove unused images
    Prune(super::system::ImagePruneArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(TagArgs),
    /// Load images from an archive or a layout
    Load(LoadArgs),
    /// Import the contents from a tarball
    Import(ImportArgs),
    /// Display detailed information on one or more images
    Inspect(InspectArgs),
}
