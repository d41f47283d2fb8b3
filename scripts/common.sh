# shellcheck shell=bash
# What the scripts share: `. scripts/common.sh`.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034     # used by the scripts that read this file
cache=${RMAC_FIXTURES:-$repo/target/fixtures}

die() { echo "${0##*/}: $*" >&2; exit 1; }

missing() {    # PROGRAM=PACKAGE...: prints the packages of what is not there
    local pair
    for pair in "$@"; do command -v "${pair%%=*}" >/dev/null || echo "${pair##*=}"; done
}

need() {    # PROGRAM=PACKAGE...: installs what is missing
    [ -n "$(missing "$@")" ] || return 0
    # Tests run side by side, and apt-get(8) does not wait for another one: one installs, the others find it there.
    (
        flock 7
        mapfile -t packages < <(missing "$@")
        [ ${#packages[@]} -gt 0 ] || exit 0
        echo "${0##*/}: installing ${packages[*]}" >&2
        apt-get -qq update >/dev/null 2>&1 || true
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${packages[@]}" \
            >/dev/null 2>&1 || die "cannot install ${packages[*]}: is there a network, and are you root?"
    ) 7</usr || exit
}

from_deb() {    # PACKAGE PATH...: files of a Debian package that is unpacked, not installed
    local dir path package=$1; shift
    dir=$(mktemp -d "$cache/deb.XXXXXX")
    (cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download "$package" >&2 && dpkg-deb -x ./*.deb .) &&
        for path; do mv "$dir/$path" "$cache/${path##*/}"; done
    rm -rf "$dir"
    for path; do [ -x "$cache/${path##*/}" ] || die "cannot download Debian's $package"; done
}

# Under sudo, Rust is usually that of the user who called it, and so is the clone: what is built
# must stay theirs.
owner=$(stat -c %U "$repo")
owner_home=$(getent passwd "$owner" | cut -d: -f6)
if [ "$owner" != "$(id -un)" ] && [ -d "$owner_home/.cargo" ]; then
    export CARGO_HOME=$owner_home/.cargo RUSTUP_HOME=$owner_home/.rustup
fi
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

find_rust() {   # or say in one line how to get it
    local least have
    least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repo/Cargo.toml")
    have=$(cd "$repo" && rustc --version 2>/dev/null | cut -d' ' -f2) || true
    printf '%s\n' "$least" "${have:-0}" | sort -CV ||
        die "Rust $least or newer is needed (found: ${have:-none}); get it with: curl -sSf https://sh.rustup.rs | sh -s -- -y"
    need cc=build-essential
}

as_owner() {    # COMMAND...: in the clone, as the user to whom it belongs
    if [ "$owner" = "$(id -un)" ]; then (cd "$repo" && "$@"); else
        (cd "$repo" && runuser -u "$owner" -- env HOME="$owner_home" PATH="$PATH" "$@")
    fi
}

give_back() { chown -R --reference="$repo" "$repo/target" 2>/dev/null || true; }
