//! Reads an initial stack that is laid out as by the kernel. Miri can run this, because there are no system calls and no assembly.

use std::ptr;

use sys::errno::Outcome;
use sys::stack::{Stack, at, is_same, length};

/// A word of the initial stack: a number or an address.
type Word = *mut u8;

fn number(value: usize) -> Word {
    ptr::without_provenance_mut(value)
}

fn string(text: &'static str) -> Word {
    assert!(text.ends_with('\0'));
    text.as_ptr().cast_mut()
}

/// argc and argv of one argument, two variables, and an auxiliary vector.
fn words() -> Vec<Word> {
    vec![
        number(1),
        string("program\0"),
        ptr::null_mut(),
        string("A=1\0"),
        string("WRAP_BUDDY_DEBUG=1\0"),
        ptr::null_mut(),
        number(at::PAGESZ),
        number(4096),
        number(at::ENTRY),
        number(0x1040),
        number(at::NULL),
        ptr::null_mut(),
    ]
}

#[test]
fn entries_of_the_auxiliary_vector_are_found_and_changed() {
    let mut words = words();
    // SAFETY: laid out as the kernel does.
    let stack = unsafe { Stack::new(words.as_mut_ptr().cast()) };
    assert_eq!(stack.get(at::PAGESZ), 4096);
    assert_eq!(stack.get(at::SECURE), 0, "an entry that does not exist");
    stack.set(at::ENTRY, 0x2000);
    assert_eq!(stack.get(at::ENTRY), 0x2000);
    assert_eq!(stack.get(at::PAGESZ), 4096);
}

#[test]
fn variable_matches_only_as_a_whole() {
    let mut words = words();
    // SAFETY: laid out as the kernel does, and the strings have their NUL.
    unsafe {
        let stack = Stack::new(words.as_mut_ptr().cast());
        for (wanted, is_there) in [
            ("WRAP_BUDDY_DEBUG=1\0", true),
            ("A=1\0", true),
            ("A=\0", false),
            ("A=12\0", false),
            ("program\0", false),
        ] {
            assert_eq!(stack.has_variable(wanted.as_ptr()), is_there, "{wanted}");
        }
    }
}

#[test]
fn length_counts_to_the_nul() {
    // SAFETY: all of them have one.
    unsafe {
        assert_eq!(length(c"".as_ptr().cast()), 0);
        assert_eq!(length(c"four".as_ptr().cast()), 4);
        assert!(is_same(c"one".as_ptr().cast(), "one\0two".as_ptr()));
        assert!(!is_same(c"one".as_ptr().cast(), c"on".as_ptr().cast()));
    }
}

#[test]
fn last_4095_values_are_errors() {
    assert_eq!(Outcome(usize::MAX).errno(), 1);
    assert_eq!(Outcome(usize::MAX - 4094).errno(), 4095);
    assert_eq!(Outcome(usize::MAX - 4095).errno(), 0);
    assert_eq!(Outcome(0).errno(), 0);
}
