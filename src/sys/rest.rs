//! A wait that weighs little: what the dynamic linker has written goes back to the kernel meanwhile.
//! madvise(2), elf(5), ld.so(8), mprotect(2)
//!
//! A program that is loaded at a random place holds thousands of addresses in its data (tables of functions, constant
//! texts), and the dynamic linker adds that place to each of them at the start. So these pages, though nobody ever
//! writes to them again, are each process's own: 144 KiB of rmac's, a third of what a monitor weighs. But they can
//! be had again at any time: what the file has there, and the place added to each address that the file lists
//! (`DT_RELR`). Who waits for a long time therefore gives them back, and makes them again when it is woken, which
//! takes some 0.1 ms. In between nothing may run that needs one of them, so there is nothing but the call of poll(2).
//! What the linker had to look up by name (`.got`) lies in other pages, and stays.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};

use super::heap;

/// Who is woken sooner than after this gives nothing back.
const SHORT: Duration = Duration::from_millis(1500);

/// The parts of elf(5) that are needed here; libc has no names for them.
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELRSZ: u64 = 35;
const DT_RELR: u64 = 36;
const PAGE: usize = 4096;
const WORD: usize = size_of::<usize>();

/// poll(2), for a process with one thread. A wait of more than a moment gives the heap, the stack and the relocated
/// data back that are not needed for it.
///
/// # Errors
/// Those of poll(2).
pub fn wait(fds: &mut [PollFd<'_>], timeout: PollTimeout) -> nix::Result<i32> {
    // A negative number means for ever.
    let left = u64::try_from(i32::from(timeout))
        .ok()
        .map(Duration::from_millis);
    if left.is_some_and(|left| left <= SHORT) {
        return poll(fds, timeout);
    }
    let begin = Instant::now();
    let ready = poll(fds, PollTimeout::try_from(SHORT).unwrap_or(timeout))?;
    if ready > 0 {
        return Ok(ready);
    }
    let milliseconds = left.map_or(-1, |left| {
        let left = left.saturating_sub(begin.elapsed());
        left.as_micros().div_ceil(1000) as libc::c_int
    });
    heap::trim();
    match Relocated::find() {
        Some(relocated) => relocated.poll(fds, milliseconds),
        None => poll(fds, PollTimeout::try_from(milliseconds).unwrap_or(timeout)),
    }
}

/// The pages of this program in which nothing but packed relocations was written.
#[derive(Debug)]
struct Relocated {
    /// What was added to each address: where the program lies.
    place: usize,
    /// Whole pages, read-only since the start (`PT_GNU_RELRO`).
    pages: Range<usize>,
    /// The list of what was relocated.
    list: &'static [usize],
}

impl Relocated {
    /// `None` where the program was linked in another way.
    fn find() -> Option<Self> {
        let headers = program_headers()?;
        let header = |kind| headers.iter().find(|header| header.p_type == kind);
        let first = std::ptr::from_ref(headers.first()?).addr();
        let place = first.checked_sub(header(libc::PT_PHDR)?.p_vaddr as usize)?;
        let dynamic = place + header(libc::PT_DYNAMIC)?.p_vaddr as usize;
        let relro = header(libc::PT_GNU_RELRO)?;
        let begin = place + relro.p_vaddr as usize;
        // What lies behind the dynamic section has names, and the linker writes into that itself.
        let end = dynamic.min(begin + relro.p_memsz as usize);
        let pages = begin.next_multiple_of(PAGE)..end / PAGE * PAGE;
        let entry = |tag| entry(dynamic, tag);
        // To some addresses in that section itself the linker has added the place, to others not.
        let absolute = |at: usize| if at < place { place + at } else { at };
        let (at, length) = (entry(DT_RELR)?, entry(DT_RELRSZ)?);
        // SAFETY: the dynamic section says where the list is and how long; it is read-only for the life of the program.
        let list =
            unsafe { std::slice::from_raw_parts(absolute(at) as *const usize, length / WORD) };
        // The others: three words each, the address first.
        let (at, length) = (entry(DT_RELA)?, entry(DT_RELASZ)?);
        // SAFETY: as above.
        let others = unsafe {
            std::slice::from_raw_parts(absolute(at) as *const [usize; 3], length / 3 / WORD)
        };
        let alone = others
            .iter()
            .all(|[offset, ..]| !pages.contains(&(place + offset)));
        let whole = cfg!(target_env = "gnu") && page_size() == PAGE && !pages.is_empty();
        (alone && whole).then_some(Relocated { place, pages, list })
    }

    /// poll(2) without them. From the first call to the last nothing is run that reads from these pages: calls of the C
    /// library by their names, and loops over numbers.
    fn poll(&self, fds: &mut [PollFd<'_>], milliseconds: libc::c_int) -> nix::Result<i32> {
        // SAFETY: a PollFd is a pollfd (repr(transparent)), and there are that many.
        let ready = self.without(|| unsafe {
            libc::poll(
                fds.as_mut_ptr().cast(),
                fds.len() as libc::nfds_t,
                milliseconds,
            )
        });
        Errno::result(ready)
    }

    /// Runs `wait`, which must be as [`Relocated::poll`] says, without them.
    fn without(&self, wait: impl FnOnce() -> libc::c_int) -> libc::c_int {
        let at = self.pages.start as *mut c_void;
        let length = self.pages.end - self.pages.start;
        // SAFETY: whole pages of a private mapping of this program's file. `again` makes of what the file has there
        // what it was, before anybody reads it.
        if unsafe { libc::madvise(at, length, libc::MADV_DONTNEED) } != 0 {
            return wait();
        }
        let ready = wait();
        let errno = Errno::last_raw();
        // SAFETY: as above; they were read-only and are again. Without them nothing can go on.
        unsafe {
            if libc::mprotect(at, length, libc::PROT_READ | libc::PROT_WRITE) != 0 {
                libc::abort();
            }
            self.again();
            libc::mprotect(at, length, libc::PROT_READ);
        }
        Errno::set_raw(errno);
        ready
    }

    /// Relocates anew. An even word of the list is the address of one, an odd one says by its bits which of the next 63
    /// words are some, too.
    ///
    /// # Safety
    /// The pages are writable, and as they are in the file.
    unsafe fn again(&self) {
        let mut next = 0;
        for &entry in self.list {
            if entry & 1 == 0 {
                next = self.place + entry;
                // SAFETY: the caller's.
                unsafe { self.relocate(next) };
                next += WORD;
                continue;
            }
            let mut bits = entry >> 1;
            let mut at = next;
            while bits != 0 {
                if bits & 1 == 1 {
                    // SAFETY: the caller's.
                    unsafe { self.relocate(at) };
                }
                bits >>= 1;
                at += WORD;
            }
            next += (usize::BITS as usize - 1) * WORD;
        }
    }

    /// # Safety
    /// As for [`Relocated::again`].
    unsafe fn relocate(&self, at: usize) {
        if at >= self.pages.start && at < self.pages.end {
            let word = at as *mut usize;
            // SAFETY: a word of the program's own data, whose page is writable just now.
            unsafe { *word = (*word).wrapping_add(self.place) };
        }
    }
}

/// This program's own headers, where the kernel has put them.  getauxval(3)
fn program_headers() -> Option<&'static [libc::Elf64_Phdr]> {
    // SAFETY: plain numbers; 0 where there is none.
    let (at, number) = unsafe {
        (
            libc::getauxval(libc::AT_PHDR),
            libc::getauxval(libc::AT_PHNUM),
        )
    };
    if at == 0 || cfg!(not(target_pointer_width = "64")) {
        return None;
    }
    // SAFETY: the kernel tells where they are and how many; they stay there.
    Some(unsafe { std::slice::from_raw_parts(at as *const libc::Elf64_Phdr, number as usize) })
}

/// The value of the entry `tag` of the dynamic section at `dynamic`.
fn entry(dynamic: usize, tag: u64) -> Option<usize> {
    let mut at = dynamic as *const [u64; 2];
    loop {
        // SAFETY: pairs of a tag and a value, of which the last has the tag 0.
        let [found, value] = unsafe { *at };
        match found {
            0 => return None,
            _ if found == tag => return Some(value as usize),
            // SAFETY: it was not the last.
            _ => at = unsafe { at.add(1) },
        }
    }
}

fn page_size() -> usize {
    // SAFETY: takes and gives a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::PollFlags;
    use nix::unistd::Pid;

    use super::*;
    use crate::sys::test_support::in_child;

    /// The KiB in the mappings of its own file of which the process `pid` has a copy.
    fn copied(pid: Pid) -> u64 {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let name = std::env::current_exe().unwrap();
        let mut here = false;
        let mut sum = 0;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("Anonymous:") if here => sum += words.next().unwrap().parse::<u64>().unwrap(),
                Some(word) if !word.ends_with(':') => here = line.ends_with(name.to_str().unwrap()),
                _ => (),
            }
        }
        sum
    }

    #[test]
    fn what_was_given_back_comes_again_as_it_was() {
        let words = in_child(|| {
            let relocated = Relocated::find().ok_or_else(|| anyhow::anyhow!("not found"))?;
            let length = relocated.pages.end - relocated.pages.start;
            let now = || {
                // SAFETY: the program's own pages, which are readable.
                unsafe { std::slice::from_raw_parts(relocated.pages.start as *const u8, length) }
            };
            let before = now().to_vec();
            let in_file = relocated.without(|| {
                // SAFETY: as above.
                let first = relocated.pages.start as *const usize;
                let here = relocated.place..relocated.pages.end;
                (0..length / WORD)
                    // SAFETY: as above.
                    .filter(|at| here.contains(unsafe { &*first.add(*at) }))
                    .count() as libc::c_int
            });
            anyhow::ensure!(in_file == 0, "{in_file} addresses were still relocated");
            anyhow::ensure!(now() == before, "they are others now");
            Ok((length >= 32 * 1024).to_string())
        });
        assert_eq!(words, "true");
    }

    #[test]
    fn who_waits_long_weighs_less_and_is_woken() {
        let words = in_child(|| {
            let (read, write) = nix::unistd::pipe()?;
            let mut fds = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
            let begin = Instant::now();
            // Not less than was asked for, with the pages and without.
            for most in [20_u16, 1700] {
                anyhow::ensure!(wait(&mut fds, PollTimeout::from(most))? == 0, "ready?");
                let waited = begin.elapsed();
                anyhow::ensure!(waited >= Duration::from_millis(most.into()), "{waited:?}");
            }
            let Some(waiting) = crate::sys::fork()? else {
                let ready = wait(&mut fds, PollTimeout::NONE).unwrap_or(-1);
                let told = format!("{ready} {:?}", fds[0].any());
                crate::sys::exit_now(i32::from(told != "1 Some(true)"));
            };
            let heavy = copied(waiting);
            let relocated = Relocated::find().map(|it| it.pages.end - it.pages.start);
            let saved = relocated.unwrap_or(0) as u64 / 1024;
            let begin = Instant::now();
            while copied(waiting) + saved > heavy {
                anyhow::ensure!(begin.elapsed() < Duration::from_secs(20), "{heavy} {saved}");
                std::thread::sleep(Duration::from_millis(50));
            }
            nix::unistd::write(&write, b"x")?;
            let ended = nix::sys::wait::waitpid(waiting, None)?;
            Ok(format!("{} {ended:?}", saved >= 32).replace(&waiting.to_string(), "N"))
        });
        assert_eq!(words, "true Exited(Pid(N), 0)");
    }
}
