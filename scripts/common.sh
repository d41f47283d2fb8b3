# shellcheck shell=bash
# What the scripts share: `. scripts/common.sh` (bash).

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${RMAC_FIXTURES:-$repo/target/fixtures}
mkdir -p "$cache" && cache=$(cd "$cache" && pwd)

die() { echo "${0##*/}: $*" >&2; exit 1; }

need() {    # PROGRAM=PACKAGE...: installs what is missing
    local pair missing=()
    for pair in "$@"; do command -v "${pair%%=*}" >/dev/null || missing+=("${pair##*=}"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    apt-get -qq update >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" \
        >/dev/null 2>&1 || die "cannot install ${missing[*]}: is there a network, and are you root?"
}

from_deb() {    # PACKAGE PATH: a file of a Debian package that is unpacked, not installed
    local dir; dir=$(mktemp -d "$cache/deb.XXXXXX")
    (cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download "$1" >&2 && dpkg-deb -x ./*.deb .) &&
        mv "$dir/$2" "$cache/${2##*/}"
    rm -rf "$dir"
    [ -x "$cache/${2##*/}" ] || die "cannot download Debian's $1"
}
