"""PyTorch's side, built from nothing but the layer list that an export carries."""


def build(layers):
    """A torch.nn.Sequential in inference mode; `layers` are (name, kind, arguments), names dotted where they nest."""
    from benchmarks.torch_nets import sequential  # imports torch, which a test that needs it has found

    return sequential(layers).eval()


def run(torch, twin, tensors, x):
    """What the twin makes of x with these weights, as an array; it accepts no tensor too many or too few."""
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()}, strict=True)
    with torch.no_grad():
        return twin(torch.from_numpy(x)).numpy()
