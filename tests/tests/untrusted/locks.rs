//! Locks and leases of other users.

use std::os::unix::fs::chown;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::check::sidecar_of;

use crate::{USER, has_users, restoring, sample, wrapping};
use e2e::{Variant, matrix};

matrix!(architectures: lease_is_not_waited_for, lock_of_another_user_is_waited_for_with_a_limit);

/// Python that opens the file as the other user, and does something lasting with the descriptor `f`.
fn holding(path: &Path, by: &str) -> std::process::Child {
    let script = format!(
        "import fcntl,os,signal,time\nsignal.signal(signal.SIGIO,signal.SIG_IGN)\nos.setgid({USER});os.setuid({USER})\nf=os.open({:?},os.O_RDONLY)\n{by}\nprint('held',flush=True)\ntime.sleep(100)",
        path.display().to_string()
    );
    let mut child = std::process::Command::new("python3")
        .args(["-c", &script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut line = [0; 5];
    let stdout = child.stdout.as_mut().expect("a pipe");
    std::io::Read::read_exact(stdout, &mut line).expect("it says so");
    child
}

/// The kernel would wait 45 seconds for the end of a lease.
fn lease_is_not_waited_for(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = sample(variant);
    for lease in ["F_RDLCK", "F_WRLCK"] {
        let by = format!("fcntl.fcntl(f,fcntl.F_SETLEASE,fcntl.{lease})");
        let mut holder = holding(&sample.root.path("/app/program"), &by);
        let began = Instant::now();
        let output = wrapping(&sample, "/app", &[]).exits_with(1);
        holder.kill().and_then(|()| holder.wait()).expect("killed");
        assert!(began.elapsed() < Duration::from_secs(20), "{output}");
        assert!(
            output.stderr.contains("another process holds a lease"),
            "{output}"
        );
    }
}

/// A lock that is never released only ends the waiting.
fn lock_of_another_user_is_waited_for_with_a_limit(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = sample(variant);
    let root = &sample.root;
    let hold = |path: &str| holding(&root.path(path), "fcntl.flock(f,fcntl.LOCK_EX)");
    let mut directory = hold("/app");
    let began = Instant::now();
    let output = wrapping(&sample, "/app", &[]).success();
    assert!(began.elapsed() < Duration::from_secs(30), "{output}");
    assert!(
        output
            .stderr
            .contains("locked; continuing without the lock"),
        "{output}"
    );
    directory
        .kill()
        .and_then(|()| directory.wait())
        .expect("killed");
    // The owner of a file may keep it from being changed, and the report names the owner. Other users may not.
    let mut file = hold("/app/program");
    let output = restoring(root, "/app").exits_with(1);
    assert!(
        output.stderr.contains("locked by another process ("),
        "{output}"
    );
    for path in ["/app", "/app/program", &sidecar_of("/app/program")] {
        chown(root.path(path), Some(0), Some(0)).expect("chown");
    }
    restoring(root, "/app").success();
    file.kill().and_then(|()| file.wait()).expect("killed");
}
