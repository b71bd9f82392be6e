"""Builds scale certificates, from the text of specs/ alone."""

from .certificate import Proof, bundle, witness, write
from .network import Layer, Network, read_network
from .problem import Claim, Domain, Problem, read_claim

__all__ = [
    "Claim", "Domain", "Layer", "Network", "Problem", "Proof",
    "bundle", "read_claim", "read_network", "witness", "write",
]
