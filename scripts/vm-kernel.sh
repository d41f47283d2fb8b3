# shellcheck shell=bash
# The kernel for scripts/vm, which reads this file: Debian's, with the modules that the tests want, in $vm.
set -euo pipefail
# shellcheck disable=SC2154     # as $cache, from scripts/common.sh
vm=$cache/vm

elf() {     # BZIMAGE: the kernel proper, which QEMU starts without unpacking it under emulation
    local setup offset length
    setup=$(od -An -tu1 -j $((0x1f1)) -N1 "$1")
    offset=$(od -An -tu4 -j $((0x248)) -N4 "$1") length=$(od -An -tu4 -j $((0x24c)) -N4 "$1")
    # After the compressed data come four bytes that lz4 complains about.
    { tail -c +$(((setup + 1) * 512 + offset + 1)) "$1" || true; } | head -c "$length" | lz4 -dc 2>/dev/null || true
}

get_kernel() (  # once: kernel, modules and busybox
    mkdir -p "$cache" && exec 9>"$cache/vm.lock" && flock 9
    [ ! -e "$vm/done" ] || exit 0
    rm -rf "$vm" && mkdir -p "$vm/base/lib/modules" "$vm/deb" && cd "$vm/deb"
    find_package() { apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | tail -n 1; }
    package=$(find_package)
    [ -n "$package" ] || { apt-get -qq update && package=$(find_package); }
    apt-get -qq -o APT::Sandbox::User=root download "$package" >&2 && dpkg-deb -x ./*.deb .
    elf boot/vmlinuz-* >../vmlinux
    [ "$(head -c 4 ../vmlinux | tail -c 3)" = ELF ] || die "no kernel in Debian's $package"
    version=$(ls lib/modules) wanted="virtio_pci virtio_console overlay 8021q macvlan ipvlan dummy veth bridge
        af_packet tun crc32c_generic"
    busybox depmod -b . "$version"
    for module in $wanted; do sed -n "s#^\(.*/\)\?$module\.ko:#\1$module.ko#p" "lib/modules/$version/modules.dep"; done |
        tr ' ' '\n' | sort -u | (cd "lib/modules/$version" && mkdir -p "$vm/base/lib/modules/$version" &&
            xargs cp --parents -t "$vm/base/lib/modules/$version" && cp modules.builtin* "$vm/base/lib/modules/$version/")
    busybox depmod -b "$vm/base" "$version"
    cd .. && rm -rf deb && touch ./done
)
