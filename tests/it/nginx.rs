//! A real backend: Debian's nginx, with a file of a gibibyte.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Broken, Checker, Pattern, Settings, get, wait_for};

/// A running nginx, which never outlives its test.
struct Nginx {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Serves what is in its folder below `files`.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // An address of its own, so that no other test gets the port in between.
        let address = TcpListener::bind("127.0.0.88:0").unwrap().local_addr().unwrap();
        fs::create_dir(folder.path().join("files")).unwrap();
        let config = folder.path().join("nginx.conf");
        fs::write(&config, configuration(folder.path(), address)).unwrap();
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
        let process = Command::new(program.unwrap_or("nginx"))
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed: `make deps` does it");
        let nginx = Self { process, address, folder };
        wait_for("nginx", || TcpStream::connect(address).is_ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One process, so that ending it ends all of nginx.
fn configuration(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .join(" ");
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n\
         events {{ }}\n\
         http {{ access_log off; sendfile on; {temporary}\n\
         server {{ listen {address}; root {folder}/files; }} }}\n"
    )
}

#[test]
fn a_file_of_a_gibibyte_comes_from_nginx_unchanged() {
    const GIBIBYTE: u64 = 1 << 30;
    let nginx = Nginx::start();
    let mut file = BufWriter::new(File::create(nginx.folder.path().join("files/large")).unwrap());
    Pattern::new().pieces(GIBIBYTE, |piece| file.write_all(piece).is_ok());
    file.flush().unwrap();
    let gateway = Settings::before_address(nginx.address).start();
    let mut client = gateway.client();
    let head = client.send(get("/large", &[])).read_head();
    let mut checker = Checker::new();
    assert_eq!(client.read_body(&head, &mut |bytes| checker.feed(bytes)), Ok::<(), Broken>(()));
    assert_eq!((checker.length, checker.intact), (GIBIBYTE, true));
    client.ask(get("/missing", &[])).expect(404);
}
