//! The bundle in a runnable file.

use alloc::vec;
use alloc::vec::Vec;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::io::{Error, ErrorKind, Read};
use sidecar::runnable::{LEN, NAME_LEN, Runnable};
use sys::errno::EINTR;
use sys::files;

use crate::failure::Reason;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 17;

/// A runnable file, whose position is at the start of the compressed archive.
pub struct Payload {
    pub name: [u8; NAME_LEN],
    /// The paths of programs below the bundle, each with a NUL.
    programs: Vec<u8>,
    input: Input,
}

impl Payload {
    /// Finds the bundle in the file `fd` after its first `image_len` bytes.
    pub fn find(fd: usize, image_len: usize) -> Result<Self, Reason> {
        let moved = files::seek(fd, image_len);
        if moved.errno() != 0 {
            return Err(Reason::Kernel(moved.errno()));
        }
        let mut header = [0; LEN];
        exactly(fd, &mut header)?;
        let runnable = Runnable::parse(&header).ok_or(Reason::Damaged)?;
        let mut programs = vec![0; runnable.programs_len as usize];
        exactly(fd, &mut programs)?;
        Ok(Self {
            name: runnable.name,
            programs,
            input: Input {
                fd,
                left: runnable.payload_len,
                buffer: Vec::new(),
                at: 0,
            },
        })
    }

    /// The path below the bundle of the program that `argv0` names by its last part, or else of the first.
    pub fn program(&self, argv0: &[u8]) -> &[u8] {
        let programs = || self.programs.split(|&byte| byte == 0);
        let wanted = last_part(argv0);
        let found = programs().find(|path| last_part(path) == wanted && !wanted.is_empty());
        found.or_else(|| programs().next()).unwrap_or_default()
    }

    /// The archive.
    pub fn unpacked(mut self) -> Result<Archive, Reason> {
        let mut decoder = FrameDecoder::new();
        let begun = decoder.init(&mut self.input);
        begun.map_err(|_| Reason::Damaged)?;
        Ok(Archive {
            decoder,
            input: self.input,
        })
    }
}

fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// The bytes of the archive.
pub struct Archive {
    decoder: FrameDecoder,
    input: Input,
}

impl Archive {
    /// Fills `buffer`.
    pub fn read(&mut self, mut buffer: &mut [u8]) -> Result<(), Reason> {
        while !buffer.is_empty() {
            match self.some(buffer)? {
                0 => return Err(Reason::Damaged),
                len => buffer = &mut buffer[len..],
            }
        }
        Ok(())
    }

    /// Reads some bytes. Returns their number; 0 is the end.
    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, Reason> {
        let decoder = &mut self.decoder;
        while decoder.can_collect() == 0 && !decoder.is_finished() {
            let one = BlockDecodingStrategy::UptoBlocks(1);
            let decoded = decoder.decode_blocks(&mut self.input, one);
            decoded.map_err(|_| Reason::Damaged)?;
        }
        decoder.read(buffer).map_err(|_| Reason::Damaged)
    }

    /// Reads to the end, and compares the checksum.
    pub fn finish(mut self) -> Result<(), Reason> {
        let mut rest = vec![0; BUFFER];
        while self.some(&mut rest)? != 0 {}
        let decoder = &self.decoder;
        match decoder.get_checksum_from_data() == decoder.get_calculated_checksum() {
            true => Ok(()),
            false => Err(Reason::Damaged),
        }
    }
}

/// The compressed bytes.
struct Input {
    fd: usize,
    /// Bytes that are not in the buffer yet.
    left: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        if self.at == self.buffer.len() {
            let len = self.left.min(BUFFER as u64) as usize;
            self.buffer.resize(len, 0);
            self.at = 0;
            let read = exactly(self.fd, &mut self.buffer);
            read.map_err(|_| Error::from(ErrorKind::Other))?;
            self.left -= len as u64;
        }
        let rest = &self.buffer[self.at..];
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

/// Fills `buffer` from the file `fd`.
fn exactly(fd: usize, buffer: &mut [u8]) -> Result<(), Reason> {
    let mut filled = 0;
    while filled < buffer.len() {
        let read = files::read(fd, &mut buffer[filled..]);
        match read.errno() {
            0 if read.0 == 0 => return Err(Reason::Damaged),
            0 => filled += read.0,
            EINTR => {}
            errno => return Err(Reason::Kernel(errno)),
        }
    }
    Ok(())
}
