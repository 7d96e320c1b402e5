//! A bar for those who wait: on a terminal only, after a while, and gone when there is something to read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes less is over before anybody wonders.
const DELAY: Duration = Duration::from_millis(500);

/// While directories are walked it is not known how much there is.
const WALKING: &str = "{spinner} looking for files, {pos} met";

/// Of that many files.
const COUNTING: &str = "{msg} {bar:40} {pos} of {len} files";

/// How far a run has come.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    delay: Duration,
    shown: AtomicBool,
    target: fn() -> ProgressDrawTarget,
}

impl Progress {
    /// Nothing is shown yet; where standard error is no terminal, nothing ever is.
    pub fn new() -> Self {
        Self::on(ProgressDrawTarget::stderr, DELAY)
    }

    fn on(target: fn() -> ProgressDrawTarget, delay: Duration) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        set_template(&bar, WALKING);
        Self {
            bar,
            started: Instant::now(),
            delay,
            shown: AtomicBool::new(false),
            target,
        }
    }

    /// One more was met.
    pub fn met(&self) {
        self.step();
    }

    /// All were met, and there are that many files to look at.
    pub fn expect(&self, files: usize) {
        self.bar.set_position(0);
        self.bar.set_length(files as u64);
        self.bar.set_message("looking at");
        set_template(&self.bar, COUNTING);
    }

    /// One more is done.
    pub fn step(&self) {
        self.bar.inc(1);
        self.show();
    }

    /// All are done, and are written now.
    pub fn write(&self) {
        self.bar.set_message("writing");
        self.show();
    }

    fn show(&self) {
        let due = self.started.elapsed() >= self.delay;
        if due && !self.shown.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target((self.target)());
            self.bar.tick();
        }
    }
}

fn set_template(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use indicatif::TermLike;

    use super::*;

    static DRAWN: Mutex<String> = Mutex::new(String::new());

    #[derive(Debug)]
    struct Spy;

    impl Spy {
        fn add(text: &str) -> io::Result<()> {
            DRAWN.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl TermLike for Spy {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            Self::add(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            Self::add(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            Self::add("<clear>")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drawn() -> String {
        std::mem::take(&mut DRAWN.lock().unwrap())
    }

    #[test]
    fn it_comes_after_a_while_and_goes_without_a_trace() {
        let target = || ProgressDrawTarget::term_like(Box::new(Spy));
        let quick = Progress::on(target, Duration::from_secs(3600));
        quick.expect(3);
        quick.step();
        quick.write();
        drop(quick);
        assert_eq!(drawn(), "");
        let slow = Progress::on(target, Duration::ZERO);
        slow.met();
        assert!(drawn().contains("looking for files, 1 met"));
        slow.expect(3);
        slow.step();
        assert!(drawn().contains("1 of 3 files"));
        slow.step();
        slow.write();
        drop(slow);
        assert!(drawn().ends_with("<clear>"));
    }
}
