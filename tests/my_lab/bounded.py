from dataclasses import dataclass

from agentgym_train.algorithms.base import Credit
from agentgym_train.algorithms.opd import OPD


@dataclass(frozen=True, kw_only=True)
class BoundedOPD(OPD):
    """OPD whose gap is squashed smoothly into (-bound, bound)."""

    bound: float = 1.0

    def credit(self, batch, step):
        return Credit({"teacher": self.bound * (batch.gap / self.bound).tanh()})
