"""Engines: processes that die, are stopped or orphaned; dask schedulers; the same numbers from all."""
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT, environment

from fragility_nb.run import cluster
from fragility_nb.run.cluster import LocalEngine, WorkerDied
from fragility_nb.run.dask_engine import DaskEngine, slurm_options, slurm_script
from fragility_nb.run.machine import list_gpus, pick_gpus, thread_share

ENV = environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT/"tests")]), OMP_NUM_THREADS="1")

def product(seed):
    "What depends on the number of threads and on nothing else: bit for bit."
    import torch
    x = torch.randn(300, 300, generator=torch.Generator().manual_seed(seed))
    return (x @ x).softmax(1).numpy().tobytes(), torch.get_num_threads()

def who(seconds):
    time.sleep(seconds)
    return os.getpid()

def die(how): os.kill(os.getpid(), how) if how else None

def fail(text): raise KeyError(text)

class Strange(Exception):
    def __init__(self, a, b): super().__init__(f"{a} {b}")

def strange(_): raise Strange(1, 2)

def child(seconds):
    "A grandchild in a session of its own, as a kernel is."
    p = subprocess.Popen(["sleep", str(seconds)], start_new_session=True)
    print(p.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def alive(pid):
    try: return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError: return False

def gone(pids, seconds=10):
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(map(alive, pids)): time.sleep(0.05)
    return not any(map(alive, pids))

# --- this machine

def test_each_call_has_a_process_of_its_own():
    pids = dict(LocalEngine(workers=2).run(who, [0] * 6))
    assert len({*pids.values(), os.getpid()}) == 7

def test_workers_work_side_by_side():
    began = time.monotonic()
    assert len(list(LocalEngine(workers=4).run(time.sleep, [1.5] * 4))) == 4
    assert time.monotonic() - began < 5.5 # one after the other it takes 6 and the start

def test_start_costs_little():
    engine = LocalEngine(workers=1, preload=["numpy"])
    run, stamps = engine.run(who, [0] * 11), []
    for _ in run: stamps.append(time.monotonic())
    assert (stamps[-1] - stamps[0]) / 10 < 0.25 # a new interpreter with NumPy takes longer

def test_threads_are_divided():
    assert thread_share(64)["OMP_NUM_THREADS"] == "1" and thread_share(1, 3)["MKL_NUM_THREADS"] == "3"

def test_deaths_and_errors_are_told_and_the_others_go_on():
    out = dict(LocalEngine(workers=2).run(die, [signal.SIGKILL, None, signal.SIGSEGV, None]))
    assert isinstance(out[0], WorkerDied) and "SIGKILL" in str(out[0]) and "SIGSEGV" in str(out[2])
    assert out[1] is out[3] is None
    error = dict(LocalEngine().run(fail, ["x"]))[0]
    assert isinstance(error, KeyError) and "in fail" in error.__notes__[0]
    assert "Strange: 1 2" in str(dict(LocalEngine().run(strange, [0]))[0])

def test_starter_that_is_killed():
    engine, killed, out = LocalEngine(workers=2), [], {}
    def kill(): killed.append(os.kill(int(next(iter(_children_of(os.getpid())))), signal.SIGKILL))
    threading.Timer(2, kill).start()
    for index, outcome in engine.run(who, [60, 60, 0, 0]): out[index] = outcome
    assert killed and isinstance(out[0], WorkerDied) and isinstance(out[1], WorkerDied) and out[2] != out[3]

def _children_of(pid):
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try: parts = (entry/"stat").read_text().rpartition(")")[2].split()
            except OSError: continue
            if int(parts[1]) == pid and b"_serve" in (entry/"cmdline").read_bytes(): yield entry.name

def script(body, *args):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(body), *args], env=ENV, stdout=subprocess.PIPE,
                            text=True, start_new_session=True)

def test_no_orphans_of_a_killed_controller():
    p = script("""
        import test_cluster as t
        print(0, flush=True)
        list(t.LocalEngine(workers=2).run(t.hang, [300, 300]))""")
    p.stdout.readline()
    pids = [int(n) for _ in range(2) for n in p.stdout.readline().split()]
    assert len(pids) == 4 and all(map(alive, pids))
    p.kill()
    p.wait()
    assert gone(pids)

def hang(seconds):
    p = subprocess.Popen(["sleep", str(seconds)], start_new_session=True)
    os.write(1, f"{os.getpid()} {p.pid}\n".encode())
    time.sleep(seconds)

def test_children_of_a_killed_worker_are_killed(capfd):
    assert isinstance(dict(LocalEngine().run(child, [300]))[0], WorkerDied)
    assert gone([int(capfd.readouterr().out)])

def test_stop_once_and_twice():
    stop, began = threading.Event(), time.monotonic()
    threading.Timer(1.5, stop.set).start()
    out = dict(LocalEngine(workers=2).run(time.sleep, [60] * 4, stop=stop))
    assert set(out) == {0, 1} and {type(o) for o in out.values()} == {KeyboardInterrupt}
    assert time.monotonic() - began < 15
    # calls that have only just begun hear it, too
    out = dict(LocalEngine(workers=4).run(time.sleep, [60] * 8, stop=AtOnce()))
    assert {type(o) for o in out.values()} == {KeyboardInterrupt} and len(out) == 4 and time.monotonic() - began < 40
    run = LocalEngine(workers=2).run(who, [0, 60, 60])
    next(run)
    began = time.monotonic()
    run.close()
    assert time.monotonic() - began < 8

class AtOnce:
    "Is set when the first calls are on their way."
    asked = False
    def is_set(self):
        before, self.asked = self.asked, True
        return before

def test_gpus_that_are_not_there(monkeypatch):
    monkeypatch.setattr("fragility_nb.run.machine.list_gpus", lambda: [])
    for gpus in (1, [0], ["0", "1"]):
        with pytest.raises(ValueError, match="GPU"): LocalEngine(gpus=gpus)
    monkeypatch.setattr("fragility_nb.run.machine.list_gpus", lambda: ["0", "3"])
    assert [s["CUDA_VISIBLE_DEVICES"] for s in LocalEngine(gpus=2).slots()] == ["0", "3"]
    assert [s["CUDA_VISIBLE_DEVICES"] for s in LocalEngine(workers=3, gpus=["3"]).slots()] == ["3"] * 3
    with pytest.raises(ValueError, match="at least 3"): LocalEngine(gpus=3)
    with pytest.raises(TypeError, match="`gpus`"): pick_gpus("0")

def test_gpus_are_dealt_to_processes(monkeypatch):
    monkeypatch.setattr("fragility_nb.run.machine.list_gpus", lambda: ["4", "7"])
    out = dict(LocalEngine(gpus=2).run(seen, [0.5] * 4))
    assert sorted(out.values()) == ["4", "4", "7", "7"]

def seen(seconds):
    time.sleep(seconds)
    return os.environ["CUDA_VISIBLE_DEVICES"]

@pytest.mark.skipif(len(list_gpus()) == 0, reason="no GPU here")
def test_a_process_sees_its_gpu():
    assert dict(LocalEngine(gpus=1).run(count_gpus, [0])) == {0: 1}

def count_gpus(_):
    import torch
    return torch.cuda.device_count()

# --- macOS

LACKING = """
import ctypes, os, sys
for name in ("pipe2", "sched_getaffinity", "memfd_create", "pidfd_open"):
    if hasattr(os, name): delattr(os, name)
class NoLibrary:
    def __init__(self, *_): raise AttributeError("prctl")
ctypes.CDLL = NoLibrary
real = os.scandir
def scandir(path="."):
    if str(path).startswith("/proc"): raise FileNotFoundError(path)
    return real(path)
os.scandir = scandir
from fragility_nb.run import cluster
cluster._LINUX = False
"""

@pytest.fixture
def macos(monkeypatch):
    "Here and in the starter, what macOS lacks is missing: pipe2, prctl, /proc, the affinity."
    for name in ("pipe2", "sched_getaffinity"): monkeypatch.delattr(os, name)
    monkeypatch.setattr(cluster, "_LINUX", False)
    def begin(env, fd):
        code = f"import sys; sys.path[:] = {sys.path!r}\n{LACKING}\ncluster._serve({fd})"
        return subprocess.Popen([sys.executable, "-c", code], env=env, stdin=subprocess.DEVNULL, pass_fds=[fd],
                                start_new_session=True)
    monkeypatch.setattr(cluster, "_begin_starter", begin)

def test_what_macos_lacks_is_not_needed(macos):
    "Calls, their errors and their deaths."
    out = dict(LocalEngine(workers=2).run(who_or_fail, [0, "x", 0]))
    assert len({out[0], out[2], os.getpid()}) == 3 and isinstance(out[1], TypeError)
    assert isinstance(dict(LocalEngine().run(killed, [0]))[0], WorkerDied)

def who_or_fail(seconds): return who(seconds + 0)

def killed(_): os.kill(os.getpid(), signal.SIGKILL)

def test_on_macos_a_workers_children_end_with_it(macos, capfd):
    "Those of its group; a kernel leads its own, and looks itself whether its parent is there."
    assert isinstance(dict(LocalEngine().run(child_of_its_group, [300]))[0], WorkerDied)
    assert gone([int(capfd.readouterr().out)])

def child_of_its_group(seconds):
    print(subprocess.Popen(["sleep", str(seconds)]).pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def test_on_macos_workers_end_when_their_starter_is_killed(macos, tmp_path):
    engine, out = LocalEngine(), {}
    def kill():
        until = time.monotonic() + 60
        while not (tmp_path/"pid").exists() and time.monotonic() < until: time.sleep(0.05)
        os.kill(int((tmp_path/"parent").read_text()), signal.SIGKILL)
    threading.Thread(target=kill).start()
    for index, outcome in engine.run(note_and_sleep, [str(tmp_path)]): out[index] = outcome
    assert isinstance(out[0], WorkerDied) and gone([int((tmp_path/"pid").read_text())])

def note_and_sleep(folder):
    (Path(folder)/"parent").write_text(str(os.getppid()))
    (Path(folder)/"part").write_text(str(os.getpid()))
    (Path(folder)/"part").rename(Path(folder)/"pid")
    time.sleep(60)

def test_on_macos_processes_are_asked_for_by_ps(monkeypatch):
    "The owner of a folder, without /proc: the same text for the same process, none for a dead one."
    from fragility_nb.core import owner
    monkeypatch.setattr(sys, "platform", "darwin")
    dead = subprocess.Popen(["true"])
    before = owner.process_start(os.getpid())
    dead.wait()
    assert before and before == owner.process_start(os.getpid()) and owner.process_start(dead.pid) == ""
    monkeypatch.setenv("PATH", "") # no `ps`: it cannot be known
    assert owner.process_start(os.getpid()) is None

# --- dask

def test_local_and_dask_agree_bit_for_bit():
    "The same numbers from torch, with the number of CPU threads that was asked for."
    local, dask = (dict(e(workers=1, threads=2, preload=["torch"]).run(product, range(3)))
                   for e in (LocalEngine, DaskEngine))
    assert local == dask and len({v for v, _ in local.values()}) == 3
    assert {threads for _, threads in local.values()} == {2}

def test_dask_stop():
    stop, began = threading.Event(), time.monotonic()
    threading.Timer(6, stop.set).start()
    out = dict(DaskEngine(workers=2).run(time.sleep, [90] * 5, stop=stop))
    assert time.monotonic() - began < 40 and len(out) <= 2 and {type(o) for o in out.values()} <= {KeyboardInterrupt}

@pytest.fixture
def scheduler():
    "A scheduler and a worker as a user starts them, without a GPU to give."
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    quiet = dict(env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    both = [subprocess.Popen([sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", str(port),
                              "--no-dashboard"], **quiet),
            subprocess.Popen([sys.executable, "-m", "dask", "worker", address, "--nthreads", "1", "--no-dashboard"],
                             **quiet)]
    yield address, both
    for p in both:
        if p.poll() is None: os.killpg(p.pid, signal.SIGTERM)
    for p in both: p.wait(20)

def test_a_running_scheduler(scheduler):
    address, (boss, worker) = scheduler
    assert len(set(dict(DaskEngine(address, timeout=30).run(who, [0] * 3)).values())) == 3
    with pytest.raises(ValueError, match="None of the 1 dask workers has a GPU"):
        list(DaskEngine(address, gpus=1).run(who, [0]))
    run = DaskEngine(address).run(who, [0, 300])
    next(run)
    os.killpg(boss.pid, signal.SIGKILL)
    with pytest.raises(ConnectionError, match="scheduler is gone"): next(run)

def test_schedulers_that_do_not_answer(tmp_path):
    began = time.monotonic()
    with pytest.raises(ConnectionError, match="No dask scheduler answers"):
        list(DaskEngine("tcp://127.0.0.1:9", timeout=1).run(who, [0]))
    with pytest.raises(FileNotFoundError, match="scheduler file"): list(DaskEngine(tmp_path/"none.json").run(who, [0]))
    with pytest.raises(ValueError, match="`address`"): list(DaskEngine("nonsense://x", timeout=1).run(who, [0]))
    assert time.monotonic() - began < 10

# --- strangers

def listening(process):
    import psutil
    try: return [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    except psutil.Error: return []

def own_sockets():
    import psutil
    me = psutil.Process()
    return {(p.pid, c.laddr.ip, c.laddr.port) for p in [me, *me.children(recursive=True)] for c in listening(p)}

@pytest.mark.parametrize("kind", [LocalEngine, DaskEngine])
def test_nothing_listens_off_this_machine(kind):
    "While calls run, no process of the engine can be reached from another machine."
    before, seen = own_sockets(), set()
    for _ in kind(workers=2).run(time.sleep, [1, 1, 1]): seen |= own_sockets()
    assert {ip for _, ip, _ in seen - before} <= {"127.0.0.1"}, seen - before
    if kind is DaskEngine: assert len(seen - before) >= 3 # a scheduler and two workers: the test saw them

def test_another_process_cannot_send_work_to_our_scheduler():
    "It knows host and port, as every user of the machine does, and is turned away."
    text = """
        import sys, distributed
        for protocol in ("tcp", "tls"):
            try:
                client = distributed.Client(f"{protocol}://{sys.argv[1]}", timeout=3)
                print("ran:", client.submit(sum, [1, 2]).result(timeout=5))
            except BaseException as e: print("refused", type(e).__name__)
    """
    from fragility_nb.run.dask_engine import _own_cluster
    with _own_cluster([{}], {}, gpu=False) as cluster:
        place = cluster.scheduler_address.rpartition("/")[2]
        out = subprocess.run([sys.executable, "-c", textwrap.dedent(text), place], env=ENV, text=True, timeout=120,
                             capture_output=True).stdout
    assert out.count("refused") == 2 and "ran" not in out, out

@pytest.mark.parametrize("address", ["tcp://gpu7:8786", "gpu7:8786", "ws://gpu7:8786", "tcp://10.0.0.7:8786"])
def test_an_open_scheduler_is_refused_in_a_sentence(address, tmp_path):
    with pytest.raises(ValueError, match="run code as you.*trusted_network=True"):
        list(DaskEngine(address, timeout=1).run(who, [0]))
    file = tmp_path/"scheduler.json"
    file.write_text(json.dumps(dict(address=address)))
    with pytest.raises(ValueError, match="run code as you"): list(DaskEngine(file, timeout=1).run(who, [0]))
    with pytest.raises(ConnectionError, match="No dask scheduler answers"): # it is asked
        list(DaskEngine(address.replace("gpu7", "gpu7.invalid").replace("10.0.0.7", "127.0.0.1"), timeout=1,
                        trusted_network=True).run(who, [0]))

# --- SLURM

def test_slurm_script():
    text = slurm_script(gpus=1, cores=8, memory="32GiB", walltime="12:00:00", queue="gpu", account="lab",
                        setup=["module load cuda"], directives=["--constraint=a100"])
    for line in ("#SBATCH -p gpu", "#SBATCH -A lab", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=32G",
                 "#SBATCH -t 12:00:00", "#SBATCH --gres=gpu:1", "#SBATCH --constraint=a100",
                 "module load cuda", "export OMP_NUM_THREADS=8"): assert line in text.splitlines(), line
    start = next(line for line in text.splitlines() if "dask worker" in line or "dask_worker" in line)
    assert "--resources GPU=1" in start and "--nthreads 1" in start
    assert "--nworkers" not in start.replace("--nworkers 1", "")
    assert text.index("module load cuda") < text.index(start)
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    cpu = slurm_script(gpus=0)
    assert "gres" not in cpu and "--resources" not in cpu
    with pytest.raises(ValueError, match="`cores`"): slurm_options(cores=0)


def test_blocks_inside_each_other_share_what_is_ready():
    engine = LocalEngine()
    with engine:
        starter = engine._shared
        with engine:
            assert engine._shared is starter and dict(engine.run(abs, [-3])) == {0: 3}
        assert engine._shared is starter and starter.process is not None and dict(engine.run(abs, [-4])) == {0: 4}
    assert engine._shared is None and starter.process is None
