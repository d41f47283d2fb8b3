//! The command line as it is typed: `tests/cli/*.md` are manual and test at once.
//!
//! After a change of the flags: `TRYCMD=overwrite cargo test --test cli`, then read the difference.

#[test]
fn the_manual_is_true() {
    trycmd::TestCases::new().case("tests/cli/*.md");
}
