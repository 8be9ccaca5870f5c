"""What a policy must not say: rules over words, a monitor that hears them in real time, and gaps of outcomes between groups."""

from gymformer.safety.gaps import Gap, OutcomeGaps
from gymformer.safety.monitor import SafetyMonitor, SafetyWrapper
from gymformer.safety.policy import POLICIES, Rule, Violation, load_rules, pattern_rule, word_rule

__all__ = [
    "POLICIES",
    "Gap",
    "OutcomeGaps",
    "Rule",
    "SafetyMonitor",
    "SafetyWrapper",
    "Violation",
    "load_rules",
    "pattern_rule",
    "word_rule",
]
