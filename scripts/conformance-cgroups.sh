# shellcheck shell=bash
# What scripts/conformance does about cgroups: which of them a suite sees, and that none is left behind.

# Controllers of v1 that the suites ask for and that many a machine has mounted nowhere. One that lies in a v2 tree
# where nobody makes use of it can be mounted, too.
spare=(hugetlb net_cls net_prio)

alive() { grep -qE "^$1\s+[1-9]" /proc/cgroups; }
mounted() { grep -qE " - cgroup .*[ ,]$1(,|\$)" /proc/self/mountinfo; }

# In a mount namespace of one's own: on a machine with v1 its hierarchies, and the spare ones beside them; or, for
# `v2`, its v2 hierarchy alone, which is no more than the machine's: controllers that are on v1 are not in it.
view_cgroups() {    # v1 | v2
    local mount name dir=/run/conformance-view
    mkdir -p $dir
    if [ "$1" = v2 ]; then
        mount=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
        [ -n "$mount" ] || die "no cgroup2 is mounted here"
        mount --bind "$mount" $dir
    elif grep -q ' - cgroup ' /proc/self/mountinfo; then
        mount -t tmpfs -o mode=755 cgroup $dir
        find /sys/fs/cgroup -maxdepth 1 -type l -exec cp -a {} $dir/ \;
        while read -r mount; do
            mkdir $dir/"${mount##*/}" && mount --bind "$mount" $dir/"${mount##*/}"
        done < <(sed -nE 's|.* (/sys/fs/cgroup/[^/ ]+) .* - cgroup2? .*|\1|p' /proc/self/mountinfo)
        # Where distributions have it, and contest looks for it.
        [ ! -d $dir/cpu ] || [ -e $dir/cpu,cpuacct ] || ln -s cpu $dir/cpu,cpuacct
        for name in "${spare[@]}"; do
            if mounted "$name" || ! grep -q "^$name\b" /proc/cgroups; then continue; fi
            mkdir $dir/"$name"
            mount -t cgroup -o "$name" cgroup $dir/"$name" 2>/dev/null || {
                rmdir $dir/"$name" && echo "${0##*/}: $name is in use elsewhere: its tests are skipped" >&2
            }
        done
    else rmdir $dir && return; fi
    umount --recursive /sys/fs/cgroup && mount --move $dir /sys/fs/cgroup && rmdir $dir
}

# Removes the groups that the suites and the runtimes have made below the root of each hierarchy since the file
# $1/begun was made, and waits a little for what still dies in them; then lets go of the spare hierarchies. One of v1
# lives on without any mount while there is a group in it, so it is mounted once more to look.
tidy_cgroups() {    # DIR
    local dir=$1/spare name left names deadline=$((SECONDS + 3))
    names='cgrouptest|testdir|runtime-test|test_cgroup|(:youki:)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'
    mkdir "$dir"
    for name in "${spare[@]}"; do
        mounted "$name" || ! alive "$name" || { mkdir "$dir/$name" && mount -t cgroup -o "$name" cgroup "$dir/$name"; } ||
            rmdir "$dir/$name"
    done
    while
        # Others make and remove groups of theirs meanwhile, which find(1) may miss.
        left=$(find /sys/fs/cgroup -mindepth 1 -depth -type d -regextype posix-extended -newer "$1/begun" \
            -regex "/sys/fs/cgroup(/[a-z_,]+)?/($names)(/.*)?" 2>/dev/null; find "$dir" -mindepth 2 -depth -type d)
        [ -n "$left" ]
    do
        xargs -d '\n' rmdir <<<"$left" 2>/dev/null || sleep 0.05
        [ $SECONDS -lt $deadline ] || break
    done
    for name in "${spare[@]}"; do
        [ -d "$dir/$name" ] || continue
        umount "$dir/$name"
        # The kernel takes a hierarchy down in its own time, and not at all if a group in it was not yet quite gone.
        while sleep 0.1 && alive "$name" && [ $SECONDS -lt $((deadline + 5)) ]; do
            mount -t cgroup -o "$name" cgroup "$dir/$name" && umount "$dir/$name"
        done
    done
}
