//! New limits for a cgroup that exists.

use std::path::Path;

use anyhow::Result;
use oci_spec::runtime::LinuxResources;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Layout, Step, plan_update};

/// Changes the limits of the cgroup `path`, which are `own`, to those of `wanted`, where that says something. `own` then
/// tells all that hold.
///
/// # Errors
/// The kernel refuses one, as a limit of memory below what is in use; those before it hold then.
pub fn change(
    layout: &Layout,
    path: &Path,
    own: &mut LinuxResources,
    mut wanted: LinuxResources,
) -> Result<()> {
    merge(own, &wanted)?;
    complete(&mut wanted, own);
    let steps = plan_update(layout, path, &wanted)?;
    // Limits depend on each other, as that of memory with swap on that of memory: what one refuses now it may
    // allow after the others.
    let late: Vec<_> = steps.iter().filter(|step| step.take().is_err()).collect();
    late.into_iter().try_for_each(Step::take)
}

/// Puts the limits that `new` has in the place of those of `own`: of memory, processors and processes.
///
/// # Errors
/// One is out of what can be told.
pub fn merge(own: &mut LinuxResources, new: &LinuxResources) -> Result<()> {
    own.set_memory(merged(own.memory(), new.memory())?);
    own.set_cpu(merged(own.cpu(), new.cpu())?);
    own.set_pids(merged(own.pids(), new.pids())?);
    Ok(())
}

/// The limits `old`, but for those that `new` has.
fn merged<T: Serialize + DeserializeOwned>(old: &Option<T>, new: &Option<T>) -> Result<Option<T>> {
    let mut all = json!({});
    for part in [old, new].into_iter().flatten() {
        let Value::Object(part) = serde_json::to_value(part)? else {
            continue;
        };
        let given = part.into_iter().filter(|(_, value)| !value.is_null());
        given.for_each(|(name, value)| all[name] = value);
    }
    let any = old.is_some() || new.is_some();
    Ok(any.then(|| serde_json::from_value(all)).transpose()?)
}

/// Some limits are one setting together: half of one is completed from what holds already.
fn complete(wanted: &mut LinuxResources, own: &LinuxResources) {
    if let (Some(cpu), Some(all)) = (wanted.cpu_mut(), own.cpu())
        && (cpu.quota().is_some() || cpu.period().is_some())
    {
        cpu.set_quota(all.quota()).set_period(all.period());
    }
    if let (Some(memory), Some(all)) = (wanted.memory_mut(), own.memory())
        && memory.swap().is_some()
    {
        memory.set_limit(all.limit());
    }
    // Spec 1.3: -1 is no limit, and 0 a limit; but with none at all nothing could enter, so it is 1 as with runc.
    if let Some(pids) = wanted.pids_mut().as_mut().filter(|pids| pids.limit() == 0) {
        pids.set_limit(1);
    }
}
