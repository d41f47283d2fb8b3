//! `--dry-run`: the plan as a shell script, with the true values.
//!
//! The script does by commands what rmac does by system calls, in the same order, and gives the same
//! container. Three parts follow the three places where the steps are taken: the host's bash, the
//! container's bash, and from the pivot on one perl (see [`Shell`]).

use std::path::Path;

use crate::kernel::{cgroups, namespaces};
use crate::lesson::Shell;
use crate::plan::Plan;
use crate::step::Step;

/// The script that takes the steps of `plan` for a container of `image`, whose directory is `directory` and
/// whose tree is attached at `run`.
pub fn script(plan: &Plan, image: &str, directory: &Path, run: &Path) -> String {
    let quote = |path: &Path| Shell::quote(&path.to_string_lossy());
    let mut text = format!(
        "#!/bin/bash\n\
         # What `rmac run` would do for {image}, as commands.\n\
         # It needs root, bash, util-linux, iproute2 and perl.\n\
         set -e\n\
         dir={dir}    # the container's directory on the host\n\
         run={run}    # where its tree is attached, in its own mount namespace only\n\
         mkdir -p \"$dir/upper\" \"$dir/work\" \"$run\"\n\
         chmod 755 \"$dir/upper\"\n",
        dir = quote(directory),
        run = quote(run),
    );
    text += &clean_up(plan);
    text += "\n# 1. The host's part: cgroup and files.\n";
    let host = plan.host.iter().filter(|step| join(step).is_none());
    host.for_each(|step| text += &line(step));
    text += "\n# 2. The container's part, for its first process.\nread -r -d '' perl <<'PERL' || true\n";
    text += PERL;
    for step in plan.child() {
        if let Shell::Perl(statement) = step.shell() {
            text += &format!("# {}\n{statement}\n", first_line(step));
        }
    }
    text += "PERL\n\nread -r -d '' child <<'CHILD' || true\nset -e\n\
             read -r host_pid rest < /proc/self/stat    # still the host's /proc: our number there\n\
             echo \"$host_pid\" > \"$run/pid\"\n\
             exec 4<> \"$run/go\"    # opened now: the tree will cover it\n";
    let steps = plan.child();
    for step in steps.filter(|step| !is_entry(step) && join(step).is_none()) {
        if !matches!(step.shell(), Shell::Perl(_)) {
            text += &line(step);
        }
    }
    text += "read -r go <&4    # until the host has plugged the links in\n\
             exec 4<&-\n\
             exec env root=\"$root\" perl -e \"$perl\"\nCHILD\n";
    text += &start(plan);
    text += "read -r pid < \"$run/pid\"\n\n# 4. The host's part: the links, made straight into the container's network namespace.\n";
    plan.wire.iter().for_each(|step| text += &line(step));
    text += "echo go > \"$run/go\"\nwait \"$first\"\n";
    text
}

/// What perl needs: checked system calls, and the user's entry in the container's own `/etc/passwd`.
const PERL: &str = r#"use strict;
sub sys { my ($name, $number, @args) = @_; my $result = syscall($number, @args); $result >= 0 or die "$name: $!\n"; }
sub entries { open(my $file, '<', shift) or return (); map { chomp; [split /:/, $_, -1] } <$file> }
my $home = '/';
sub login {
    my ($user, $group) = split /:/, shift, 2;
    my @more = @_;
    $user = 'root' if !defined $user || $user eq '';
    my ($entry) = grep { $_->[0] eq $user || $_->[2] eq $user } entries('/etc/passwd');
    my ($uid, $gid, $name) = $entry ? ($entry->[2], $entry->[3], $entry->[0]) : ($user eq 'root' ? 0 : $user, 0, '');
    $home = $entry->[5] if $entry && $entry->[5];
    my @groups = map { $_->[2] } grep { my $g = $_; grep { $_ eq $name } split /,/, $g->[3] // '' } entries('/etc/group');
    if (defined $group) { my ($g) = grep { $_->[0] eq $group || $_->[2] eq $group } entries('/etc/group'); $gid = $g ? $g->[2] : $group; @groups = (); }
    push @groups, map { my $word = $_; my ($g) = grep { $_->[0] eq $word || $_->[2] eq $word } entries('/etc/group'); $g ? $g->[2] : $word } @more;
    my %seen; @groups = grep { !$seen{$_}++ } ($gid, @groups);
    sys setgroups => 116, scalar @groups, pack('L*', map { $_ + 0 } @groups);
    sys setgid => 106, $gid + 0;
    sys setuid => 105, $uid + 0;
}
chdir $ENV{root} or die "chdir: $!\n";
"#;

/// Taken back whatever happens: the cgroup and the directories. The rest goes with the last process.
fn clean_up(plan: &Plan) -> String {
    let mut text = String::from(
        "trap 'set +e; kill -9 \"$first\" 2>/dev/null; wait; rm -rf \"$dir\" \"$run\"",
    );
    for step in plan.host.iter().rev() {
        if let Step::Cgroup(cgroups::Step::Create(path)) = step {
            text += &format!(
                "; rmdir {} 2>/dev/null",
                Shell::quote(&path.to_string_lossy())
            );
        }
    }
    text += "' EXIT\n";
    text
}

/// The clone. The cgroup is entered before it: its namespace takes the cgroup that one is in as its root.
fn start(plan: &Plan) -> String {
    let mut text = String::from(
        "\n# 3. The first process, in namespaces of its own.\nmkfifo \"$run/pid\" \"$run/go\"\nexport run dir perl\n(\n",
    );
    for step in plan.child().filter(|step| is_entry(step)) {
        text += &line(step);
    }
    if let Some(directory) = &plan.cgroup {
        text += &format!(
            "echo 0 > {}\n",
            Shell::quote(&directory.join("cgroup.procs").to_string_lossy())
        );
    }
    let cgroup = if plan.prepare.iter().any(is_unshare) {
        " --cgroup"
    } else {
        ""
    };
    // What exists already is entered before the rest is made.
    let joins: Vec<String> = plan
        .host
        .iter()
        .chain(plan.child())
        .filter_map(join)
        .collect();
    let joins = match joins.is_empty() {
        true => String::new(),
        false => format!("nsenter --no-fork {} ", joins.join(" ")),
    };
    if let Shell::Bash(unshare) = plan.clone.shell() {
        text += &format!(
            "exec {joins}{unshare}{cgroup} --kill-child --propagation unchanged bash -c \"$child\"\n"
        );
    }
    text += ") <&0 &\nfirst=$!\n";
    text
}

fn is_entry(step: &Step) -> bool {
    matches!(step, Step::Cgroup(cgroups::Step::Enter(_)))
}

/// nsenter(1)'s option for a namespace that exists already.
fn join(step: &Step) -> Option<String> {
    match (step, step.shell()) {
        (Step::Namespace(namespaces::Step::JoinFile { .. }), Shell::Bash(command)) => {
            command.strip_prefix("nsenter ").map(str::to_owned)
        }
        _ => None,
    }
}

fn is_unshare(step: &Step) -> bool {
    matches!(step, Step::Namespace(namespaces::Step::Unshare(_)))
}

/// A step as bash, below its call.
fn line(step: &Step) -> String {
    match step.shell() {
        Shell::Bash(command) => format!("# {}\n{command}\n", first_line(step)),
        Shell::Note(note) => format!("# {note}\n"),
        Shell::Perl(_) => String::new(),
    }
}

/// A call may name a file whose name holds a line end.
fn first_line(step: &Step) -> String {
    step.to_string().replace(['\n', '\r'], " ")
}
