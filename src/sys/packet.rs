//! packet(7): a socket that carries whole Ethernet frames of one link.
#![allow(unsafe_code)]

use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Opens a packet socket that carries the frames of the EtherType `protocol` on the link of the number
/// `index`; of those that come in, it keeps what `filter` lets pass (bpf(4), the classic kind).
///
/// The filter is there before the first frame is. Closing such a socket takes the kernel some 10 ms.
///
/// # Errors
/// EPERM without CAP_NET_RAW, ENODEV where there is no such link, ENETDOWN where it is off.
pub fn open(protocol: u16, index: u32, filter: &[libc::sock_filter]) -> Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain integers. Without a protocol the socket hears nothing until it is bound.
    let raw = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if raw < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    attach_filter(&socket, filter)?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: address is a valid sockaddr_ll of the length told.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    match bound {
        0 => Ok(socket),
        _ => Err(Error::last_os_error()),
    }
}

/// Has the kernel drop what comes in on `socket` and does not pass `filter`, before anybody is woken.
///
/// # Errors
/// EINVAL where the program is none.
pub fn attach_filter(socket: &impl AsFd, filter: &[libc::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: program points to `len` instructions that outlive the call; the kernel only reads them.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    match answer {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// `if word at offset == value, go on, else skip to the end`: one test of a filter, as [`accept_if`]
/// strings them together.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Bytes from the start of the frame.
    pub offset: u32,
    /// How many bytes: 1, 2 or 4.
    pub size: u8,
    /// What they must be, as a number in network byte order.
    pub value: u32,
}

/// The filter that lets a frame pass when all `tests` hold.
pub fn accept_if(tests: &[Test]) -> Vec<libc::sock_filter> {
    let mut program = Vec::with_capacity(tests.len() * 2 + 2);
    for (at, test) in tests.iter().enumerate() {
        let size = match test.size {
            1 => libc::BPF_B,
            2 => libc::BPF_H,
            _ => libc::BPF_W,
        };
        let fail = (tests.len() - at - 1) * 2 + 1;
        program.push(instruction(
            libc::BPF_LD | size | libc::BPF_ABS,
            0,
            test.offset,
        ));
        program.push(instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            fail as u8,
            test.value,
        ));
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, u32::MAX));
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0));
    program
}

fn instruction(code: u32, skip_if_false: u8, operand: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: skip_if_false,
        k: operand,
    }
}
