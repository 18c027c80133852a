"""PyTorch's side, built from nothing but the layer list that an export carries."""

from collections import OrderedDict


def build(torch, layers):
    """A torch.nn.Sequential in inference mode; `layers` are (name, kind, arguments), names dotted where they nest."""
    groups = OrderedDict()
    for name, kind, arguments in layers:
        number, _, rest = name.partition(".")
        groups.setdefault(number, []).append((rest, kind, arguments))
    modules = OrderedDict()
    for number, inside in groups.items():
        (rest, kind, arguments), *more = inside
        modules[number] = build(torch, inside) if rest or more else getattr(torch.nn, kind)(**arguments)
    return torch.nn.Sequential(modules).eval()


def run(torch, twin, tensors, x):
    """What the twin makes of x with these weights, as an array; it accepts no tensor too many or too few."""
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()}, strict=True)
    with torch.no_grad():
        return twin(torch.from_numpy(x)).numpy()
