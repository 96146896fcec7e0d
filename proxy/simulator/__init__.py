"""A vLLM look-alike: its wire behaviour without its model, for demos, tests and benchmarks.

Responses match vLLM 0.32's field for field; the text is a function of the prompt, the seed and the choice, so
that a call through a proxy and a direct one give the same bytes but for id and time. It knows nothing of
metergate's ledger or keys.
"""

from proxy.simulator.app import Simulator, create_simulator
from proxy.simulator.config import SimulatorConfig
from proxy.simulator.faults import Fault

__all__ = ["Fault", "Simulator", "SimulatorConfig", "create_simulator"]
