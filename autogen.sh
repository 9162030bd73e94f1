#!/bin/sh
# From a fresh clone to a build.
#
#   ./autogen.sh           make ./configure (needs autoconf, automake, pkg-config)
#   ./autogen.sh --demo    install what is missing, build, and show the main job on real servers
#   ./autogen.sh --check   install what is missing, build, and run every test
#
# --demo and --check need root: to install packages, and for a network of their own in which ports 80 and 443 are free. Nothing else on
# the machine is changed. They build in build/, build-san/ and build-clang/.
set -eu
cd "$(dirname "$0")"
umask 022

BUILD="autoconf automake make gcc libc6-dev pkg-config libcurl4-openssl-dev libssl-dev libjansson-dev libidn2-dev libseccomp-dev libldns-dev libpsl-dev"
DEMO="pebble nginx openssl curl iproute2 util-linux mount python3 ca-certificates"
CHECK="$DEMO apache2 python3-pytest libcmocka-dev clang strace xz-utils bind9 bind9-dnsutils softhsm2 opensc libengine-pkcs11-openssl
    tpm2-openssl swtpm squid dante-server busybox certbot python3-certbot-nginx lego dehydrated uacme haproxy lighttpd lighttpd-mod-openssl
    dovecot-core dovecot-imapd prosody postgresql nftables iptables ufw zsh fish mandoc systemd"
# Where no other mail server is there, which its installation would remove.
MAIL=postfix

# The same by the names of other systems. Pebble is packaged by Debian and Ubuntu alone.
FEDORA="autoconf automake make gcc pkgconf-pkg-config libcurl-devel openssl-devel jansson-devel libidn2-devel libseccomp-devel ldns-devel libpsl-devel nginx openssl curl iproute util-linux python3"
FEDORA_CHECK="httpd mod_ssl python3-pytest libcmocka-devel clang xz bind bind-utils softhsm opensc openssl-pkcs11 tpm2-openssl swtpm squid dante-server busybox"
ALPINE="autoconf automake make gcc musl-dev linux-headers pkgconf curl-dev openssl-dev jansson-dev libidn2-dev libseccomp-dev ldns-dev libpsl-dev nginx openssl curl iproute2 util-linux python3"
ALPINE_CHECK="apache2 apache2-ssl py3-pytest cmocka-dev clang xz bind bind-tools softhsm opensc libp11 swtpm squid dante-server"
ARCH="autoconf automake make gcc pkgconf curl openssl jansson libidn2 libseccomp ldns libpsl nginx iproute2 util-linux python"
ARCH_CHECK="apache python-pytest cmocka clang xz bind softhsm opensc libp11 tpm2-openssl swtpm squid dante busybox"

top=$(pwd)
policy=/usr/sbin/policy-rc.d
made_policy=no
scratch=
background=
corpus=

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s\n' "autogen.sh: $*" >&2; exit 1; }

clean_up() {
    status=$?
    trap - EXIT INT TERM HUP
    # shellcheck disable=SC2086
    [ -z "$background$corpus" ] || kill -KILL $background $corpus 2>/dev/null || true # and with each all that lives in its world
    if [ "$made_policy" = yes ]; then rm -f "$policy"; fi
    if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
    # What was built for somebody who called us through sudo is theirs.
    if [ -n "${SUDO_UID:-}" ] && [ "$(stat -c %u .)" = "$SUDO_UID" ]; then
        find . -path ./.git -prune -o -uid 0 -exec chown -h "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" {} + || true
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# -- packages ----------------------------------------------------------------------------------------------

missing_of() {
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || printf '%s ' "$package"
    done
}

# Services must not start because we install them: a policy that says no, unless the machine has one of its own.
forbid_starting_services() {
    if [ -e "$policy" ] || [ -L "$policy" ]; then return; fi
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

install_on_debian() {
    # shellcheck disable=SC2046
    set -- $(missing_of "$@")
    if [ $# -eq 0 ]; then return; fi
    [ "$(id -u)" = 0 ] || die "these packages are missing: $*
  install them with: sudo apt-get install --no-install-recommends $*"
    say "Installing $*"
    forbid_starting_services
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 update -q || echo "autogen.sh: apt-get update failed in part; going on with what it has" >&2
    apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "$@" ||
        die "apt-get could not install: $*"
    if [ "$made_policy" = yes ]; then rm -f "$policy"; made_policy=no; fi
    for pair in nginx:nginx apache2:apache2 bind9:named squid:squid dante-server:danted haproxy:haproxy lighttpd:lighttpd \
        dovecot-core:dovecot postfix:postfix prosody:prosody postgresql:postgresql nftables:nftables ufw:ufw \
        certbot:certbot.timer uacme:uacme.timer dehydrated:dehydrated.timer; do
        service=${pair#*:}
        case " $* " in *" ${pair%:*} "*)
            [ ! -d /run/systemd/system ] ||
                echo "$service was installed and not started. To keep it from starting at the next boot: systemctl disable $service" ;;
        esac
    done
}

name_packages_elsewhere() {
    case $1 in --check) more=yes ;; *) more=no ;; esac
    if command -v dnf >/dev/null 2>&1; then
        command="dnf install $FEDORA"; [ $more = no ] || command="$command $FEDORA_CHECK"
    elif command -v apk >/dev/null 2>&1; then
        command="apk add $ALPINE"; [ $more = no ] || command="$command $ALPINE_CHECK"
    elif command -v pacman >/dev/null 2>&1; then
        command="pacman -S --needed $ARCH"; [ $more = no ] || command="$command $ARCH_CHECK"
    else
        command="(your package manager): autoconf automake make gcc pkg-config, headers of libcurl, OpenSSL 3, Jansson, libidn2, libseccomp, ldns, libpsl, cmocka; nginx apache2 bind softhsm opensc squid openssl curl iproute2 python3 pytest"
    fi
    cat >&2 <<TEXT
autogen.sh: $1 installs packages by itself on Debian and Ubuntu only. Here, install them first:

  $command

and the test CA, Pebble, which only Debian and Ubuntu package: https://github.com/letsencrypt/pebble (both programs, pebble and
pebble-challtestsrv, on the PATH). To build without tests and demo:

  ./autogen.sh && ./configure && make
TEXT
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "$1 needs root: it installs missing packages, and makes a network of its own where ports 80 and 443 are free.
  Run: sudo ./autogen.sh $1"
}

prepare() { # --demo or --check, then its packages
    mode=$1
    shift
    if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
        # All there already? Then the system does not matter.
        for program in autoreconf make cc pkg-config pebble pebble-challtestsrv nginx openssl curl ip unshare python3; do
            command -v "$program" >/dev/null 2>&1 || name_packages_elsewhere "$mode"
        done
        need_root "$mode"
        return
    fi
    need_root "$mode"
    install_on_debian "$@"
}

# The newer Pebble of Debian unstable, unpacked and not installed. The mirror is the machine's own.
fetch_newer_pebble() {
    target=build/pebble-2.10
    [ ! -x $target/usr/bin/pebble ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then echo "Pebble 2.10: skipped, no apt here"; return 0; fi
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sed -n 's/^Debian|Debian|main|//p' | head -n 1)
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    if [ -z "$mirror" ] || [ ! -r $keyring ]; then echo "Pebble 2.10: skipped, this machine has no Debian mirror"; return 0; fi
    scratch=$(mktemp -d)
    chmod 755 "$scratch"
    mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/deb"
    if id _apt >/dev/null 2>&1; then chown _apt "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/deb"; fi
    echo "deb [signed-by=$keyring] $mirror unstable main" >"$scratch/sources.list"
    apt_aside() {
        apt-get -q -o Dir::Etc::sourcelist="$scratch/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts=- \
            -o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch/cache" -o Acquire::Languages=none "$@"
    }
    if apt_aside update >"$scratch/log" 2>&1 && (cd "$scratch/deb" && apt_aside download pebble >>"$scratch/log" 2>&1) &&
        mkdir -p $target && dpkg -x "$scratch"/deb/pebble_*.deb $target && "$target/usr/bin/pebble" -version >/dev/null 2>&1; then
        echo "Pebble 2.10: unpacked in $target"
    else
        rm -rf $target
        echo "Pebble 2.10: skipped, it could not be had from $mirror:"
        tail -n 3 "$scratch/log" | sed 's/^/  /'
    fi
    rm -rf "$scratch"
    scratch=
}

# When somebody has edited the machine's web server configuration, the tests need the stock one from its package.
fetch_stock_configuration() {
    mkdir -p build/debs
    for package in nginx-common apache2; do
        command -v dpkg >/dev/null 2>&1 || return 0
        if dpkg --verify "$package" 2>/dev/null | grep -q ' c /etc/' && ! ls build/debs/"$package"_*.deb >/dev/null 2>&1; then
            version=$(dpkg-query -W -f='${Version}' "$package")
            (cd build/debs && apt-get -q download "$package=$version") || echo "stock configuration of $package: could not be downloaded"
        fi
    done
    TLSUP_TEST_DEBS=$top/build/debs
    export TLSUP_TEST_DEBS
}

# -- building ----------------------------------------------------------------------------------------------

make_configure() { autoreconf --force --install; }

build() { # directory, configure arguments
    directory=$1
    shift
    say "Building in $directory ($*)"
    mkdir -p "$directory"
    (cd "$directory" &&
        { ../configure --quiet --sysconfdir=/etc --localstatedir=/var "$@" || { tail -n 40 config.log >&2; exit 1; }; } &&
        make -j"$(nproc)" all) || die "the build in $directory failed"
}

# -- the tally of --check ----------------------------------------------------------------------------------

passed=0 failed=0 skipped=0

count() { # passed failed skipped
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

step() { # words, then a command: one check of its own
    words=$1
    shift
    say "$words"
    if "$@"; then count 1 0 0; else echo "FAILED: $words" >&2; count 0 1 0; fi
}

said() { # the sum of a cmocka log's lines "[  PASSED  ] N test(s)…"
    sed -n "s/^.*\[ *$1 *\] \([0-9]*\) test(s).*/\1/p" "$2" | awk '{ n += $1 } END { print n + 0 }'
}

result_of() { sed -n 's/^:global-test-result: //p' "$1"; }

# What a failed test said, without the cases that passed: they would push the one that matters out of sight.
show_log() {
    echo "--- $1"
    if [ -r "$1" ]; then grep -v '^\[ *\(RUN\|OK\) *\]' "$1" | tail -n 150; else echo "(it left no log)"; fi
}

# cmocka says its counts at the end of each program's log; a program that died before saying them is one failure.
unit_tests() { # build directory; of these tests alone
    say "Unit tests in $1"
    good=0
    make -s -C "$1" -j"$(nproc)" check ${2:+"TESTS=$2"} || good=$?
    found=no
    for result in "$1"/tests/*.trs "$1"/tests/unit/*.trs; do
        [ -e "$result" ] || continue
        found=yes
        log=${result%.trs}.log
        ok=$(said PASSED "$log") bad=$(said FAILED "$log") none=$(said SKIPPED "$log")
        case $(result_of "$result") in
        PASS) bad=0; [ "$ok" -gt 0 ] || ok=1 ;; # a script, or a program without cases
        SKIP) [ "$none" -gt 0 ] || none=1 ;;
        *) [ "$bad" -gt 0 ] || bad=1
           show_log "$log" ;;
        esac
        count "$ok" "$bad" "$none"
    done
    if [ $found = no ] || { [ $good != 0 ] && [ "$failed" = 0 ]; }; then
        echo "FAILED: make check in $1" >&2
        count 0 1 0
    fi
}

# The end-to-end tests mostly wait. Each run has a world of its own, so two of them go on at once behind the compilers.
begin_end_to_end() { # build directory; more environment
    directory=$1
    shift
    say "End-to-end tests with $directory/tlsup: begun, to be seen in $directory/e2e.log"
    rm -f "$directory/e2e.tally"
    env TLSUP_BIN="$top/$directory/tlsup" E2E_TALLY="$top/$directory/e2e.tally" "$@" tests/e2e/run --jobs 3 >"$directory/e2e.log" 2>&1 &
    background="$background $!"
}

end_end_to_end() { # build directory, in the order of their beginning
    directory=$1
    # shellcheck disable=SC2086
    set -- $background
    status=0
    wait "$1" || status=$?
    shift
    background=$*
    say "End-to-end tests with $directory/tlsup"
    cat "$directory/e2e.log"
    if [ -s "$directory/e2e.tally" ]; then
        # shellcheck disable=SC2046
        count $(cat "$directory/e2e.tally")
        if [ $status != 0 ] && [ "$(cut -d' ' -f2 "$directory/e2e.tally")" = 0 ]; then count 0 1 0; fi
    elif [ $status = 77 ]; then
        count 0 0 1
    else
        echo "FAILED: the end-to-end tests did not run to their end" >&2
        count 0 1 0
    fi
}

# The real program on real servers, over every configuration of tests/fixtures.
begin_corpus() { # build directory
    say "The corpus with $1/tlsup: begun, to be seen in $1/corpus.log"
    env TLSUP_BIN="$top/$1/tlsup" tests/corpus/run --jobs 2 >"$1/corpus.log" 2>&1 &
    corpus=$!
}

end_corpus() { # build directory
    status=0
    wait "$corpus" || status=$?
    say "The corpus with $1/tlsup"
    cat "$1/corpus.log"
    case $status in 0) count 1 0 0 ;; 77) count 0 0 1 ;; *) echo "FAILED: the corpus" >&2; count 0 1 0 ;; esac
}

build_with_clang() {
    mkdir -p build-clang
    (cd build-clang && ../configure --quiet --enable-werror --enable-test-hooks CC=clang && make -s -j"$(nproc)" all &&
        make -s -j"$(nproc)" unit-test-programs)
}

distcheck() {
    if TLSUP_TEST_BRIEF=yes make -s -C build -j"$(nproc)" distcheck >build/distcheck.log 2>&1; then return; fi
    tail -n 60 build/distcheck.log
    # It leaves its tree when it fails: the tests' own logs are there, in a directory that differs between versions of automake.
    find build/tlsup-*/_build -name '*.trs' 2>/dev/null | sort | while read -r result; do
        case $(result_of "$result") in
        PASS|SKIP|XFAIL) ;;
        *) show_log "${result%.trs}.log" ;;
        esac
    done
    return 1
}

# -- what was asked for ------------------------------------------------------------------------------------

case ${1:-} in
'')
    make_configure
    ;;
--demo)
    prepare --demo $BUILD $DEMO
    [ -x configure ] || make_configure
    build build
    TLSUP_BIN=$top/build/tlsup tests/demo
    ;;
--check)
    # shellcheck disable=SC2086
    if [ -e /usr/sbin/sendmail ] && ! dpkg-query -W postfix >/dev/null 2>&1; then MAIL=; fi
    prepare --check $BUILD $CHECK $MAIL
    began=$(date +%s)
    make_configure
    build build --enable-werror
    fetch_newer_pebble
    fetch_stock_configuration
    tests/e2e/fetch-exim || true
    tests/e2e/fetch-nginx build/nginx || true # other releases of nginx, where they can be had; the tests say what is missing
    begin_end_to_end build
    build build-san --enable-werror --enable-sanitizers --enable-test-hooks
    # What is about other programs rather than about our memory is run once.
    begin_end_to_end build-san TLSUP_TEST_BUILD="sanitizers test-hooks" E2E_PEBBLE=newest \
        E2E_LEAVE_OUT="test_completion.py test_deployers.py test_dual.py test_firewall.py test_manual.py test_sites_chosen.py test_undo_order.py"
    export TLSUP_TEST_BRIEF=yes # what takes long is run once, below
    unit_tests build
    unit_tests build-san
    unset TLSUP_TEST_BRIEF
    begin_corpus build
    step "Compiling everything with clang" build_with_clang
    unit_tests build-clang "tests/unit/test_differential tests/unit/test_kill tests/unit/test_property tests/unit/test_undo"
    step "make distcheck" distcheck
    end_end_to_end build
    end_end_to_end build-san
    end_corpus build
    printf '\nWhole run: %d s\n' $(($(date +%s) - began))
    if [ $skipped -gt 0 ]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    [ $failed = 0 ] && [ $passed -gt 0 ]
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    case $1 in -h|--help) exit 0 ;; *) exit 2 ;; esac
    ;;
esac
