//! Each mistake that Docker has a text for: the text, then a cause and a cure; and nothing has changed.
//!
//! What the kernel says (EBUSY, EINVAL, ENODEV, ...) is in net_link.rs and net_ipvlan.rs; what needs no
//! kernel, in net_declare.rs.

mod common;

use common::Lab;

/// What is typed, the exit status, Docker's text, and what rmac adds.
type Row<'a> = (&'a str, i32, &'a str, &'a str);

#[test]
fn every_mistake_has_dockers_text_a_cause_and_a_cure() {
    let lab = Lab::with_image();
    lab.network("--subnet=172.16.86.0/29 --gateway=172.16.86.1 -o parent=eth0 good")
        .ok();
    lab.network("--subnet=10.9.0.0/24 -o parent=eth0 other")
        .ok();
    lab.sleeper("busy", "good", "--ip 172.16.86.2").ok();
    lab.sh("ip link add br0 type bridge; ip link add port0 type veth peer name far0; ip link set port0 master br0")
        .ok();
    let create = "rmac network create --subnet=10.1.0.0/24";
    let image = lab.image();
    let run = |rest: &str| format!("rmac run --rm {rest} {image} true");
    let rows: &[Row] = &[
        (
            &format!("{create} -o parent=en0 x"),
            1,
            "invalid subinterface vlan name en0, example formatting is eth0.10",
            "there is no link en0 on this host",
        ),
        (
            &format!("{create} -o parent=ethX.10 x"),
            1,
            "-o parent interface was not found on the host: ethX",
            "did you mean eth0?",
        ),
        (
            &format!("{create} -o parent=eth0.4095 x"),
            1,
            "vlan id must be between 1-4094, received: 4095",
            "",
        ),
        (
            &format!("{create} -o parent=eth0.x x"),
            1,
            "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)",
            "",
        ),
        (
            &format!("{create} -o parent=eth0.1.2.3 x"),
            1,
            "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received",
            "at most two tags",
        ),
        (
            &format!("{create} -o parent=lo x"),
            1,
            "loopback interface is not a valid macvlan parent link",
            "such as eth0",
        ),
        (
            &format!("{create} -o parent=port0 x"),
            1,
            "failed to create the macvlan port: device or resource busy",
            "use -o parent=br0",
        ),
        (
            &format!("{create} -o parent=eth0 -o macvlan_mode=x x"),
            1,
            "requested macvlan mode 'x' is not valid, 'bridge' mode is the macvlan driver default",
            "known are: bridge, private, vepa, passthru",
        ),
        (
            &format!("{create} -o parent=eth0 -o speed=9 x"),
            1,
            "unknown option \"speed\"",
            "known are: parent, vlan",
        ),
        (
            "rmac network create --subnet=10.1.0.5/24 -o parent=eth0 x",
            1,
            "invalid network config:\ninvalid subnet 10.1.0.5/24: it should be 10.1.0.0/24",
            "",
        ),
        (
            &format!("{create} --gateway=10.2.0.1 -o parent=eth0 x"),
            1,
            "no matching subnet for gateway 10.2.0.1",
            "",
        ),
        (
            &format!("{create} --ip-range=10.1.0.0/23 -o parent=eth0 x"),
            1,
            "invalid ip-range 10.1.0.0/23: parent subnet 10.1.0.0/24 doesn't contain ip-range",
            "",
        ),
        (
            &format!("{create} --aux-address=a=10.2.0.1 -o parent=eth0 x"),
            1,
            "no matching subnet for aux-address 10.2.0.1",
            "",
        ),
        (
            &format!("{create} --gateway=10.1.0.1 --gateway=10.1.0.2 -o parent=eth0 x"),
            1,
            "every ip-range or gateway must have a corresponding subnet",
            "",
        ),
        (
            "rmac network create --subnet=172.16.86.0/24 -o parent=eth0 x",
            1,
            "invalid pool request: Pool overlaps with other one on this address space",
            "remove it first with: rmac network rm good",
        ),
        (
            "rmac network create -o parent=eth0 x",
            1,
            "ipv4 pool is empty",
            "--subnet=172.16.86.0/24",
        ),
        (
            &format!("{create} -o parent=eth0 good"),
            1,
            "network with name good already exists",
            "",
        ),
        (
            "rmac network inspect goood",
            1,
            "network goood not found",
            "did you mean good?",
        ),
        (
            &run("--network goood"),
            125,
            "network goood not found",
            "did you mean good?",
        ),
        (
            "rmac network rm good",
            1,
            "error while removing network: network good has active endpoints (name:\"busy\" id:\"",
            "rmac stop busy",
        ),
        (
            &format!("{create} -o parent=eth0 bridge"),
            1,
            "operation is not permitted on predefined bridge network",
            "",
        ),
        (
            "rmac network rm host",
            1,
            "host is a pre-defined network and cannot be removed",
            "",
        ),
        (
            &run("--network good --ip 172.16.87.2"),
            125,
            "invalid endpoint settings:\nno configured subnet contains IP address 172.16.87.2",
            "",
        ),
        (
            &run("--network good --ip 172.16.86.2"),
            125,
            "Address already in use",
            "",
        ),
        (
            &run("--network good --ip 172.16.86.1"),
            125,
            "Address already in use",
            "is the gateway of the network good",
        ),
        (
            &run("--name busy"),
            125,
            "Conflict. The container name \"/busy\" is already in use by container \"",
            "You have to remove (or rename) that container to be able to reuse that name.",
        ),
        (
            "rmac network connect good busy",
            1,
            "endpoint with name busy already exists in network good",
            "",
        ),
        (
            "rmac network disconnect other busy",
            1,
            "is not connected to the network other",
            "",
        ),
    ];
    let before = state(&lab);
    let mut wrong = Vec::new();
    for (typed, code, dockers, ours) in rows {
        let output = lab.sh(typed);
        let said = output.stderr.replace("\r\n", "\n");
        if output.code != *code || !said.contains(dockers) || !said.contains(ours) {
            wrong.push(format!(
                "{typed}\n    wanted {code}: {dockers} ... {ours}\n    got    {}: {said}",
                output.code
            ));
        }
        if state(&lab) != before {
            wrong.push(format!("{typed}\n    has changed the state"));
            break;
        }
    }
    assert!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
    // A pool that is full: router, busy, and four more.
    lab.sh(&format!(
        "for i in 1 2 3 4; do rmac create --network good {image} true; done"
    ))
    .ok();
    let before = state(&lab);
    lab.sh(&run("--network good"))
        .ended(125)
        .says("no available IPv4 addresses on this network's address pools: good (");
    assert_eq!(state(&lab), before);
    lab.sh("rmac rm -f $(rmac ps -a -q); rmac network rm good other; ip link del br0; ip link del far0")
        .ok();
}

/// Everything that rmac keeps, and the links of the host.
fn state(lab: &Lab) -> String {
    let (root, runroot) = (lab.root(), lab.runroot());
    lab.sh(&format!(
        "ls /sys/class/net; cd {} && find containers names networks -not -path '*/upper/*' | sort; \
         cat networks/*/leases; ls {}/containers",
        root.display(),
        runroot.display()
    ))
    .ok()
}
