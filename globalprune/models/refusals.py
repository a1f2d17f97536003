"""What transformers raises for files that it can't make sense of, to be told in our own words."""

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

REFUSALS = (
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
