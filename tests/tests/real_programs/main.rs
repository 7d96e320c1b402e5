//! Real programs from registries and from Debian, installed as usual, wrapped, and used.

/// One `#[test]` per function and case: `on!([x86_64 i686_auto]: ruff, uv)` makes `ruff::x86_64` and so on. A case is an
/// architecture, or `host`. With the suffix `_auto`, programs are wrapped with `--strategy auto`, with `_own`, with
/// `--self-contained`, with `_embedded`, with `--embedded`, and have no sidecar then.
macro_rules! on {
    ($cases:tt: $($test:ident),+ $(,)?) => {
        $(
            mod $test {
                on!(@test $test $cases);
            }
        )+
    };
    (@test $test:ident [$($case:ident)+]) => {
        $(
            #[test]
            fn $case() {
                super::$test($crate::layout::Case::named(stringify!($case)));
            }
        )+
    };
}

mod build_tools;
mod carriers;
mod check;
mod database;
mod debian;
mod editor_server;
mod java;
mod javascript;
mod layout;
mod lisp;
mod python_tools;
mod site_tools;
mod wine;
