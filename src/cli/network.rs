//! The flags of `rmac network`.

use clap::{ArgAction, Args, Subcommand};

use super::system::PruneArgs;

/// Manage networks
#[derive(Debug, Clone, Subcommand)]
pub enum NetworkCommand {
    /// Create a network
    Create(Box<CreateArgs>),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Display detailed information on one or more networks
    Inspect(InspectArgs),
    /// Remove one or more networks
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Connect a container to a network
    Connect(ConnectArgs),
    /// Disconnect a container from a network
    Disconnect(DisconnectArgs),
    /// Remove all unused networks
    Prune(PruneArgs),
}

/// The flags of `network create`.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// Driver to manage the network: macvlan, ipvlan
    #[arg(short, long, default_value = "macvlan")]
    pub driver: String,
    /// Subnet of the LAN in CIDR format
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    pub subnet: Vec<String>,
    /// The LAN's router, for the subnet
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub gateway: Vec<String>,
    /// Give out container addresses from this part of the subnet: a prefix, first-last, or auto:2/4 for the
    /// second of four equal parts
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    pub ip_range: Vec<String>,
    /// An address that something else on the LAN has
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub aux_address: Vec<String>,
    /// Tell containers of one more route: DESTINATION,GATEWAY or DESTINATION,GATEWAY,METRIC
    #[arg(long, value_name = "ROUTE")]
    pub route: Vec<String>,
    /// Who gives addresses out: default, dhcp, none
    #[arg(
        long,
        value_name = "DRIVER",
        default_value = "",
        hide_default_value = true
    )]
    pub ipam_driver: String,
    /// Set driver specific options: parent (a link, or auto), vlan, mtu, macvlan_mode, bcqueuelen, bclim, ipvlan_mode, ipvlan_flag, conflict, host_access, onlink_gateway, parent_wait; docs/networks.md tells them all
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub opt: Vec<String>,
    /// Set metadata on the network
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Give containers no default route
    #[arg(long)]
    pub internal: bool,
    /// Give out IPv4 addresses
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub ipv4: bool,
    /// Give out IPv6 addresses: true, false, static, off, or slaac to leave it to the LAN's routers
    #[arg(long, value_name = "POLICY", default_value = "", num_args = 0..=1, hide_default_value = true,
          require_equals = true, default_missing_value = "true")]
    pub ipv6: String,
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub name: String,
}

/// The flags of `network ls`.
#[derive(Debug, Clone, Default, Args)]
pub struct LsArgs {
    /// Only show network IDs
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not truncate the output
    #[arg(long)]
    pub no_trunc: bool,
    /// Filter output: driver, id, label, name, scope, type (as in driver=macvlan)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// The flags of `network inspect`.
#[derive(Debug, Clone, Default, Args)]
pub struct InspectArgs {
    /// Format output: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Verbose output for diagnostics (there is no more to say)
    #[arg(short, long)]
    pub verbose: bool,
    /// Names or IDs
    #[arg(value_name = "NETWORK", required = true)]
    pub networks: Vec<String>,
}

/// The flags of `network rm`.
#[derive(Debug, Clone, Default, Args)]
pub struct RmArgs {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    pub force: bool,
    /// Names or IDs
    #[arg(value_name = "NETWORK", required = true)]
    pub networks: Vec<String>,
}

/// The flags of `network connect`.
#[derive(Debug, Clone, Default, Args)]
pub struct ConnectArgs {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,
    /// Driver options: com.docker.network.endpoint.ifname=NAME
    #[arg(long, value_name = "KEY=VALUE")]
    pub driver_opt: Vec<String>,
    /// Which of several networks has the default route: the highest
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub gw_priority: i32,
    /// IPv4 address (e.g., 172.16.86.30)
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// IPv6 address (e.g., fd00:86::30)
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// MAC address of the new interface (e.g., 92:d0:c6:0a:29:33)
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<String>,
    /// The network's name or ID
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// The container's name or ID
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// The flags of `network disconnect`.
#[derive(Debug, Clone, Default, Args)]
pub struct DisconnectArgs {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    pub force: bool,
    /// The network's name or ID
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// The container's name or ID
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}
