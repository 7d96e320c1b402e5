use std::process::ExitCode;

fn main() -> ExitCode {
    wrap_buddy::run(std::env::args_os())
}
