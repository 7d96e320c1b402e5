//! One `#[test]` per test function and cell of the matrix.

/// Makes tests from functions that take a [`Variant`](crate::Variant): `matrix!(all: renamed, copied)` makes
/// `renamed::x86_64_glibc_pie` and so on. The list of cells is `all`, `glibc`, `native` (those that the kernel of x86_64 runs
/// without an emulator, for debuggers), `architectures` (each once), `systems` (each architecture and libc once, if the kind of executable does not matter), or
/// names of cells in brackets.
#[macro_export]
macro_rules! matrix {
    (all: $($test:ident),+ $(,)?) => {
        $crate::matrix!([
            x86_64_glibc_pie x86_64_glibc_exec x86_64_musl_pie x86_64_musl_exec
            i686_glibc_pie i686_glibc_exec aarch64_glibc_pie aarch64_glibc_exec
            riscv64_glibc_pie riscv64_glibc_exec armv7_glibc_pie armv7_glibc_exec
        ]: ($($test),+));
    };
    (glibc: $($test:ident),+ $(,)?) => {
        $crate::matrix!([
            x86_64_glibc_pie x86_64_glibc_exec i686_glibc_pie i686_glibc_exec
            aarch64_glibc_pie aarch64_glibc_exec riscv64_glibc_pie riscv64_glibc_exec
            armv7_glibc_pie armv7_glibc_exec
        ]: ($($test),+));
    };
    (native: $($test:ident),+ $(,)?) => {
        $crate::matrix!([
            x86_64_glibc_pie x86_64_glibc_exec x86_64_musl_pie x86_64_musl_exec
            i686_glibc_pie i686_glibc_exec
        ]: ($($test),+));
    };
    (architectures: $($test:ident),+ $(,)?) => {
        $crate::matrix!([
            x86_64_glibc_pie i686_glibc_pie aarch64_glibc_pie riscv64_glibc_pie armv7_glibc_pie
        ]: ($($test),+));
    };
    (systems: $($test:ident),+ $(,)?) => {
        $crate::matrix!([
            x86_64_glibc_pie x86_64_musl_pie i686_glibc_pie aarch64_glibc_pie riscv64_glibc_pie armv7_glibc_pie
        ]: ($($test),+));
    };
    ($cells:tt: ($($test:ident),+)) => {
        $($crate::matrix!(@test $test $cells);)+
    };
    (@test $test:ident [$($cell:ident)+]) => {
        mod $test {
            $(
                #[test]
                fn $cell() {
                    super::$test($crate::Variant::named(stringify!($cell)));
                }
            )+
        }
    };
}

/// Makes one `#[test]` per architecture from functions that take an [`Arch`](crate::Arch).
#[macro_export]
macro_rules! architectures {
    ($($test:ident),+ $(,)?) => {
        $($crate::architectures!(@test $test [
            x86_64: X86_64, i686: I686, aarch64: Aarch64, riscv64: Riscv64, armv7: Armv7
        ]);)+
    };
    (@test $test:ident [$($name:ident: $arch:ident),+]) => {
        mod $test {
            $(
                #[test]
                fn $name() {
                    super::$test($crate::Arch::$arch);
                }
            )+
        }
    };
}
