# shellcheck shell=bash
# How scripts/conformance runs the two suites: each test's name and how it ended, a line each. `suite`, `runtime` and
# `logs` are that script's.
# shellcheck disable=SC2154

limit() { timeout --kill-after=5 "${LIMIT:-600}" "$@"; }

validation() {  # each test is a program that speaks TAP: it has passed when it ends well and nothing is "not ok"
    local test log code word
    for test in validation/*/*.t; do
        test=${test#validation/} && test=${test%%/*}
        [ $# = 0 ] || [[ " $* " = *" $test "* ]] || continue
        log=$logs/$test.log code=0
        limit "validation/$test/$test.t" >"$log" 2>&1 </dev/null || code=$?
        if [ $code != 0 ] || grep -qE '^\s*not ok' "$log"; then word='not ok'
        elif grep -qE '^\s*ok' <(grep -viE '# skip' "$log"); then word=ok
        elif grep -qE '^\s*ok' "$log"; then word=skipped
        # Some count nothing and write a diagnosis where they have found a fault.
        elif grep -qE '^\s*"error":' "$log"; then word='not ok'
        else word=ok; fi
        printf '%s\t%s\n' "$word" "$test"
    done
}

# Where one test panics it takes its group along, and those of cgroup_v1_cpu each ask at the same time for nearly all the
# time of real-time tasks that there is: the tests of these groups run one by one.
declare -A apart=([huge_tlb]="invalid_tlb valid_tlb valid_rsvd_tlb"
    [cgroup_v1_cpu]="test_linux_cgroups_cpus test_empty_cpu test_cpu_idle_set test_cpu_idle_default"
    [exec]="preserve_fds_test ignore_paused_test cgroup_test no_capabilities_test unset_bounding_capabilities_test
    new_privileges_test some_capabilities_test capabilities_by_flag_test_case1 capabilities_by_flag_test_case2 mount_test")

contest() {     # each group prints "1 / 2 : NAME : ok", and the reason on the next line
    local group test log code
    for group in $(./contest list); do
        [ $# = 0 ] || [[ " $* " = *" $group "* ]] || continue
        for test in ${apart[$group]:-all}; do
            log=$logs/$group.$test.log log=${log/.all./.} code=0
            [ "$test" = all ] && test=$group || test=$group::$test
            limit ./contest run --runtime "$runtime" --runtimetest "$suite/runtimetest" -t "$test" \
                >"$log" 2>&1 </dev/null || code=$?
            sed -nE "s|^[0-9]+ / [0-9]+ : (.*) : (ok\|not ok\|skipped)\$|\2\t$group/\1|p" "$log"
            grep -q '^# End group' "$log" || printf 'not ok\t%s (exit code %s)\n' "${test/::/\/}" "$code"
        done
    done
}
