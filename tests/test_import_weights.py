"""The command that makes exports of other packages' files: flags among files, exit codes, Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch_writer

import biggan_jax


@pytest.fixture
def generator(tmp_path, monkeypatch) -> Path:
    monkeypatch.syspath_prepend(Path(__file__).parent / "exports" / "weights")
    from biggan_pytorch_files import generator_state

    path = tmp_path / "[G].pth"  # which is no markup
    path.write_bytes(torch_writer.save(generator_state([16] * 4, embedding=0, chunk=7), legacy=False))
    return path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "biggan_jax.import_weights", *words]


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=300)


def test_files_may_stand_among_the_flags_and_the_export_loads(generator, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\n")
    flags = ["--truncations=0.5,0.5", "--passes=2", "--batch_size=4", f"--class_names={names}"]
    output = tmp_path / "export"
    done = run("--format=biggan-pytorch", str(generator), f"--output={output}", *flags)
    assert done.returncode == 0, done.stderr
    assert "read [G].pth: SHA-256" in done.stdout
    assert "statistics at 2 truncations (threshold): 0, 0.5" in done.stdout
    assert f"written to {output}, loaded again" in done.stdout
    loaded = biggan_jax.load(output)
    assert loaded.sample("c", truncation=0.5).shape == (1, 32, 32, 3)
    assert loaded.provenance["standing_statistics"]["truncations"] == [0.5]


def test_mistakes_end_in_one_line_and_exit_code_2(generator, tmp_path):
    generator.write_bytes(b"GIF89a")
    output = f"--output={tmp_path / 'export'}"
    for words, said in (
        (["--format=biggan-pytorch", output, str(generator)], "[G].pth: it is not a file of torch.save"),
        (["--format=keras", output, "x"], "--format=keras: value should be one of"),
        (["--format=tfhub", "x"], "--output is missing"),
        (["--format=tfhub", output, "x", "--truncations=a"], "--truncations=a: give numbers"),
    ):
        done = run(*words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith("error: ") and said in done.stderr
    assert not (tmp_path / "export").exists()


def test_ctrl_c_leaves_no_export(generator, tmp_path):
    words = ["--format=biggan-pytorch", f"--output={tmp_path / 'export'}", str(generator)]
    words += ["--truncations=1", "--passes=1000000"]
    # Ignored, where the tests run in a shell's background, it would be ignored by the command too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    with process:
        while not process.stdout.readline().startswith("gathering"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out.splitlines()[-1]) == (130, "interrupted: there is no export"), err
    assert os.listdir(tmp_path) == [generator.name]
