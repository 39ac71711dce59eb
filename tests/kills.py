"""Kill a training or stop a sweep at a chosen moment, resume it, and compare it with one that nothing happened to."""
import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def die(): os.kill(os.getpid(), signal.SIGKILL)


class Stop:
    "Ctrl-C in the k-th call of the engine, as long as `patch` holds."
    def __init__(self, patch, k):
        from fragility_nb.engine.engine import EditEngine
        self.left, evaluate = k, EditEngine.evaluate
        def stopping(engine, *args, **kwargs):
            self.left -= 1
            if self.left < 0: raise KeyboardInterrupt
            return evaluate(engine, *args, **kwargs)
        patch.setattr(EditEngine, "evaluate", stopping)


class Steps:
    "An augmentation that kills the process at a step; `noise` draws from the global generator, which training sets."
    count = 0

    def __init__(self, at, noise=0.): self.at, self.noise = at, noise
    def __repr__(self): return "steps"
    def identity_facts(self): return dict(noise=self.noise) # one that kills is the same augmentation
    def __call__(self, model, x, y, seed, index):
        import torch
        Steps.count += 1
        if Steps.count == self.at: die()
        return (x + torch.rand(()) * self.noise if self.noise else x), y


def replaced(nth, part=""):
    "Killed right after the nth file with this part of a name took its place."
    from fragility_nb.core import results as core
    real, calls = os.replace, [0]
    def replace(a, b):
        real(a, b)
        calls[0] += part in str(b)
        if part in str(b) and calls[0] == nth: die()
    core.os.replace = replace


def child(work):
    "The status with which a copy of this process ended."
    pid = os.fork()
    if not pid:
        try: work()
        except BaseException as e:
            print(repr(e), flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def check(folder, prepare, train, whole, at=0):
    "A training that is killed, and once more, is in the end what it would have been."
    died = child(lambda: (prepare(), train(folder, at)))
    assert os.WIFSIGNALED(died) and os.WTERMSIG(died) == signal.SIGKILL, folder.name
    assert child(lambda: (folder/"hash").write_text(train(folder))) == 0, folder.name
    assert (folder/"hash").read_text() == whole, folder.name
    print(folder.name)


def survived(python, tmp_path, script):
    "The names of the moments that a script of such checks went through."
    (tmp_path/"killed.py").write_text(script)
    start = (f"import sys; sys.argv = ['killed', {str(tmp_path)!r}]; sys.path.insert(0, {str(HERE)!r}); "
             f"exec(open({str(tmp_path/'killed.py')!r}).read())")
    return python(start, OMP_NUM_THREADS="1").splitlines()


def held(folder, seconds=60):
    "Another process that has a folder; it says so first."
    from conftest import environment
    code = (f"from fragility_nb.core.owner import own_folder; import time\n"
            f"with own_folder({str(folder)!r}, 'In use'): print(1, flush=True); time.sleep({seconds})")
    p = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment())
    assert p.stdout.readline().strip() == "1"
    return p
