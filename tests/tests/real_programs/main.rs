//! Real programs from registries and from Debian: laid out as users have them, wrapped, and put to work.

/// One `#[test]` per function and architecture: `on!([x86_64 i686]: ruff, uv)` is `ruff::x86_64` and so on.
macro_rules! on {
    ($archs:tt: $($test:ident),+ $(,)?) => {
        $(
            mod $test {
                on!(@test $test $archs);
            }
        )+
    };
    (@test $test:ident [$($arch:ident)+]) => {
        $(
            #[test]
            fn $arch() {
                super::$test($crate::layout::arch(stringify!($arch)));
            }
        )+
    };
}

mod build_tools;
mod database;
mod debian;
mod java;
mod javascript;
mod layout;
mod python_tools;
