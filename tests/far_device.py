"""A second device without a GPU: what a GPU would refuse is refused, and every transfer is counted.

Tensors on `far:0` keep their values in the CPU's memory, and every operation is carried out there: a result must equal
the CPU's bit for bit. Refused is what CUDA refuses: tensors of two devices in one operation (numbers without
dimensions excepted), the CPU's tensor indexed by the device's, `.numpy()` of the device's tensor. It uses PyTorch's
way for backends written in Python (PrivateUse1), so gradients work. Not covered: streams, memory, speed, and the last
bits of a GPU's arithmetic.

    with far_device() as crossings: result = filter_sweep(net, data, device="far")
    crossings.back # tensors that were fetched from the device and sent there again
"""
import contextlib
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "far"
FAR, CPU = torch.device("cpu"), torch.device("cpu")
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
MOVING = ("copy_", "_to_copy")


def install():
    "Registers the device, once in a process: PyTorch knows a single backend of this kind."
    global FAR
    if FAR != CPU: return
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    module = getattr(torch, NAME)
    module.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    module.is_autocast_enabled = lambda: False
    module.get_autocast_dtype = lambda: torch.bfloat16
    module.set_autocast_enabled = module.set_autocast_dtype = lambda value: None
    FAR = torch.device(NAME, 0)


def is_far(device):
    "Whether a device, or its name, is the one of this file."
    return device is not None and torch.device(device).type == NAME


class FarTensor(Tensor):
    "A tensor that says it is on the device; `near` holds its values."
    near: Tensor

    @staticmethod
    def __new__(cls, near):
        shape = dict(strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype)
        made = Tensor._make_wrapper_subclass(cls, near.size(), device=FAR, requires_grad=near.requires_grad, **shape)
        made.near = near
        return made

    def __repr__(self, **_): return f"far {self.near!r}"

    def numpy(self, *args, **kwargs):
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy: use Tensor.cpu() first")

    __array__ = numpy
    def tolist(self): return self.near.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return carry_out(func, args, kwargs or {}, None)


@dataclass
class Crossings:
    "What moved between the two devices; single numbers are not counted."
    there: int = 0  # tensors sent to the device
    here: int = 0  # tensors fetched from it
    back: list = field(default_factory=list)  # shapes of tensors sent that had been fetched, or made of such
    fetched: set = field(default_factory=set)  # storages, by address, while they live
    kept: list = field(default_factory=list)  # so that an address is not used twice

    def mark(self, tensor):
        self.fetched.add(tensor.untyped_storage().data_ptr())
        self.kept.append(tensor)

    def marked(self, tensor): return tensor.numel() > 1 and tensor.untyped_storage().data_ptr() in self.fetched

    def note(self, name, sources, results):
        "Follows what was fetched through the CPU's operations."
        plain = [t for t in sources if not isinstance(t, FarTensor)]
        if name in MOVING:
            source, target = sources[-1], results[0]
            if isinstance(target, FarTensor) and not isinstance(source, FarTensor) and source.numel() > 1:
                self.there += 1
                if self.marked(source): self.back.append(tuple(source.shape))
            if isinstance(source, FarTensor) and not isinstance(target, FarTensor) and target.numel() > 1:
                self.here += 1
                self.mark(target)
        if any(map(self.marked, plain)):
            for made in results:
                if not isinstance(made, FarTensor): self.mark(made)


def check_places(func, name, args, tensors):
    "Refuses what a GPU refuses."
    there = [tuple(t.shape) for t in tensors if isinstance(t, FarTensor)]
    here = [tuple(t.shape) for t in tensors if not isinstance(t, FarTensor) and t.dim()]
    if name in INDEXING:
        if there and not isinstance(args[0], FarTensor):
            raise RuntimeError(f"indices should be on the device of the indexed tensor (cpu), in {func.name()}")
    elif there and here and name not in MOVING:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {NAME}:0 {there} and cpu {here} "
                           f"in {func.name()}")


def goes_there(name, args, kwargs, tensors):
    "Whether the results of an operation are on the device."
    if kwargs.get("device") is not None: return is_far(kwargs["device"])
    if name == "copy_": return isinstance(args[0], FarTensor)
    return name != "_local_scalar_dense" and any(isinstance(t, FarTensor) for t in tensors)


def carry_out(func, args, kwargs, crossings):
    "An operation, done on the CPU after a look at where its tensors say they are."
    name = func.name().partition("::")[2].partition(".")[0]
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    check_places(func, name, args, tensors)
    there = goes_there(name, args, kwargs, tensors)
    kwargs = {k: (CPU if k == "device" and v is not None else False if k == "pin_memory" and v else v)
              for k, v in kwargs.items()}
    args_here, kwargs_here = tree_map(lambda a: a.near if isinstance(a, FarTensor) else a, (args, kwargs))
    made = func(*args_here, **kwargs_here)
    if name.endswith("_") and not name.startswith("_") and isinstance(args[0], Tensor): made = args[0]  # in place
    elif there: made = tree_map(lambda t: FarTensor(t) if type(t) is Tensor else t, made)
    if crossings is not None: crossings.note(name, tensors, [t for t in tree_leaves(made) if isinstance(t, Tensor)])
    return made


class _Operations(TorchDispatchMode):
    "Every operation while the device is there, the CPU's too."
    def __init__(self, crossings):
        super().__init__()
        self.crossings = crossings

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return carry_out(func, args, kwargs or {}, self.crossings)


class _Makers(TorchFunctionMode):
    "Calls that make or move tensors without an operation that could be seen."
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and is_far(kwargs.get("device")):
            return func(*args, **{**kwargs, "device": "cpu"}).to(FAR)
        if func is Tensor.new_tensor and isinstance(args[0], FarTensor):
            return torch.tensor(*args[1:], dtype=kwargs.get("dtype", args[0].dtype)).to(FAR)
        if func is Tensor.to and torch.is_inference_mode_enabled():
            return move(args[0], *torch._C._nn._parse_to(*args[1:], **{k: v for k, v in kwargs.items() if k != "copy"}))
        return func(*args, **kwargs)


def move(x, device, dtype, *_):
    "`Tensor.to` in inference mode, where PyTorch does not ask the dispatcher."
    if dtype not in (None, x.dtype): x = torch.ops.aten._to_copy(x, dtype=dtype)
    if device is None or is_far(device) == isinstance(x, FarTensor): return x
    return torch.ops.aten._to_copy(x, device=device)


@contextlib.contextmanager
def far_device():
    "Inside, `device=\"far\"` is a device like a GPU. Gives the `Crossings`."
    install()
    crossings = Crossings()
    with _Makers(), _Operations(crossings): yield crossings
