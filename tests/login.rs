//! `login` and `logout`, against Debian's registry with a password, of itself and by way of a token server.

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{Lab, Output};

const SERVER: &str = "127.0.0.1:5000";

/// A script on the lab's host, with a home of the test's own.
fn sh(lab: &Lab, script: &str) -> Output {
    let scratch = lab.scratch();
    let scratch = scratch.display();
    lab.sh(&format!(
        "export HOME={scratch} PATH={scratch}:$PATH; {script}"
    ))
}

#[test]
fn who_logs_in_may_pull_until_he_logs_out() {
    for kind in ["basic", "bearer"] {
        let lab = Lab::up();
        lab.registry(&["--auth", kind]);
        let image = format!("{SERVER}/library/{}", lab.image());
        let config = lab.scratch().join(".docker/config.json");
        let pull = || sh(&lab, &format!("rmac pull -q {image}"));
        if kind == "basic" {
            pull().ended(1);
        }
        sh(
            &lab,
            &format!("echo wrong | rmac login -u user --password-stdin {SERVER}"),
        )
        .ended(1)
        .says(&format!(
            "Get \"http://{SERVER}/v2/\": unauthorized: incorrect username or password"
        ));
        assert!(!config.exists(), "what is refused is not kept");
        std::fs::create_dir_all(config.parent().unwrap()).unwrap();
        std::fs::write(&config, r#"{"detachKeys": "ctrl-e,e"}"#).unwrap();
        let said = sh(
            &lab,
            &format!("echo secret | rmac login -u user --password-stdin http://{SERVER}/v2/"),
        )
        .says(&format!(
            "WARNING! Your credentials are stored unencrypted in '{}'.",
            config.display()
        ))
        .ok();
        assert_eq!(said, "Login Succeeded\n");
        assert_eq!(
            std::fs::read_to_string(&config).unwrap(),
            format!(
                "{{\n\t\"detachKeys\": \"ctrl-e,e\",\n\t\"auths\": {{\n\t\t\"{SERVER}\": {{\n\t\t\t\"auth\": \"dXNlcjpzZWNyZXQ=\"\n\t\t}}\n\t}}\n}}"
            )
        );
        let mode = std::fs::metadata(&config).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        pull().ok();
        assert_eq!(
            sh(&lab, &format!("rmac login {SERVER}")).ok(),
            "Authenticating with existing credentials... [Username: user]\nLogin Succeeded\n"
        );
        assert_eq!(
            sh(&lab, &format!("rmac logout {SERVER}")).ok(),
            format!("Removing login credentials for {SERVER}\n")
        );
        assert_eq!(
            std::fs::read_to_string(&config).unwrap(),
            "{\n\t\"detachKeys\": \"ctrl-e,e\",\n\t\"auths\": {}\n}"
        );
        sh(&lab, &format!("rmac login {SERVER}"))
            .ended(1)
            .says("Error: Cannot perform an interactive login from a non TTY device");
        let files = std::fs::read_dir(config.parent().unwrap()).unwrap();
        assert_eq!(files.count(), 1, "nothing is left beside the file");
    }
}

#[test]
fn a_helper_keeps_what_it_is_given() {
    let lab = Lab::up();
    lab.registry(&["--auth", "basic"]);
    let scratch = lab.scratch();
    let kept = scratch.join("kept");
    let helper = scratch.join("docker-credential-test");
    // As the protocol has it: one line in, one line out, a reason on the output.
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{0} ;;\nget) cat {0} 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }} ;;\n\
         erase) cat >{0}.erased; rm -f {0} ;;\nesac\n",
        kept.display()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    let config = scratch.join(".docker/config.json");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(&config, r#"{"credsStore": "test"}"#).unwrap();
    let out = sh(
        &lab,
        &format!("echo secret | rmac login -u user --password-stdin {SERVER}"),
    )
    .ended(0);
    assert_eq!(
        (out.stdout.as_str(), out.stderr.as_str()),
        ("Login Succeeded\n", "")
    );
    assert_eq!(
        std::fs::read_to_string(&kept).unwrap(),
        format!("{{\"ServerURL\":\"{SERVER}\",\"Username\":\"user\",\"Secret\":\"secret\"}}")
    );
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(!text.contains("dXNlc") && text.contains(SERVER), "{text}");
    sh(&lab, &format!("rmac login {SERVER}"))
        .says("Authenticating with existing credentials... [Username: user]\nLogin Succeeded\n")
        .ok();
    sh(&lab, &format!("rmac logout {SERVER}")).ok();
    assert!(!kept.exists());
    let erased = std::fs::read_to_string(scratch.join("kept.erased")).unwrap();
    assert_eq!(erased, SERVER);
    std::fs::remove_file(&helper).unwrap();
    sh(&lab, &format!("rmac logout {SERVER}"))
        .ended(1)
        .says("cannot run docker-credential-test; is it installed?");
}

#[test]
fn misuse_is_told_in_dockers_words() {
    let lab = Lab::up();
    for (arguments, text) in [
        (
            "-u user -p x --password-stdin",
            "--password and --password-stdin are mutually exclusive",
        ),
        (
            "--password-stdin",
            "Must provide --username with --password-stdin",
        ),
        ("-u user --password-stdin", "password is empty"),
        (
            "-u user",
            "Error: Cannot perform an interactive login from a non TTY device",
        ),
        (
            "-u user -p x quay",
            "rmac: \"quay\" is no registry: a host with a dot or a port, or localhost",
        ),
        (
            "-u user -p x 127.0.0.1:1",
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
        ),
    ] {
        sh(&lab, &format!("rmac login {arguments}"))
            .ended(1)
            .says(text);
    }
    assert!(!lab.scratch().join(".docker").exists());
    assert_eq!(
        sh(&lab, "rmac logout").ok(),
        "Removing login credentials for https://index.docker.io/v1/\n"
    );
}

/// In a terminal, what is typed is not shown, and ctrl-c puts the terminal back.
#[test]
fn a_password_is_asked_for_without_showing_it() {
    let lab = Lab::up();
    lab.registry(&["--auth", "basic"]);
    let scratch = lab.scratch();
    let run = |keys: &str| {
        let script = format!(
            "(sleep 1; printf 'user\\n'; sleep 1; printf '{keys}'; sleep 2) | \
             script -qec 'rmac login {SERVER}; echo code $?; stty -a' {}/typescript",
            scratch.display()
        );
        sh(&lab, &script).ok()
    };
    let said = run(r"sec\003");
    assert!(
        said.contains("Password: ") && said.contains("code 130") && said.contains(" echo "),
        "{said}"
    );
    let said = run(r"wrong\025secret\n");
    assert!(
        said.contains("Username: user")
            && said.contains("Login Succeeded")
            && said.contains(" echo "),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
}
