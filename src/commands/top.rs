//! `top`: the container's processes, with the numbers that the host knows them by.  proc_pid_stat(5)

use anyhow::Result;

use super::attach::running;
use crate::cli::container::TopArgs;
use crate::kernel::cgroups::{self, Layout};
use crate::out;
use crate::out::stream::out;
use crate::store::Home;
use crate::store::containers;

/// `rmac top`.
pub fn top(home: &Home, args: &TopArgs) -> Result<u8> {
    let record = containers::find(home, &args.container)?;
    running(
        home,
        &record,
        &format!("container {} is not running", record.id),
    )?;
    let layout = Layout::detect()?;
    let place = record.request.cgroup(&record.id);
    let mut pids = cgroups::processes(&layout, &place)?;
    pids.sort_unstable();
    // One that ends while we look is left out.
    let rows: Vec<Vec<String>> = pids
        .into_iter()
        .filter_map(|pid| row(pid.as_raw()))
        .collect();
    out!(
        "{}",
        out::table(&["UID", "PID", "PPID", "TIME", "CMD"], &rows)
    );
    Ok(0)
}

fn row(pid: i32) -> Option<Vec<String>> {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).ok();
    let status = String::from_utf8_lossy(&read("status")?).into_owned();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let stat = String::from_utf8_lossy(&read("stat")?).into_owned();
    let times: Vec<u64> = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    // The kernel counts in hundredths of a second here, whatever its own clock is.
    let seconds = times.iter().sum::<u64>() / 100;
    let time = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    let command = String::from_utf8_lossy(&read("cmdline")?).replace('\0', " ");
    let command = match command.trim() {
        "" => format!("[{}]", field("Name:")?),
        command => command.to_owned(),
    };
    Some(vec![
        field("Uid:")?,
        pid.to_string(),
        field("PPid:")?,
        time,
        out::escape(&command).into_owned(),
    ])
}
