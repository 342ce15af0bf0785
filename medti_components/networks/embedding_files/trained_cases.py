# SPDX-License-Identifier: Apache-2.0
"""Which cases a word was learned from, as its file names them: by salted hash."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

CASES_KEY = "training_cases"
SALT_KEY = "training_cases_salt"
NUM_ROUNDS = 2_000  # of the hash, some milliseconds: names of patients are short, and so soon guessed
LENGTH = 16  # hexadecimal digits of a name


@dataclass(frozen=True)
class TrainedCases:
    """The cases of one word.

    Who has a data set can tell which of its cases a word has seen. Who has the word alone has to guess the names.

    Attributes:
        salt: of the hashes, different for each word.
        names: ``<hash of the patient>.<hash of the case>`` of each case.

    >>> seen = TrainedCases.of([("patient7", "patient7_1")], salt="a")
    >>> seen.has("patient7", "patient7_1"), seen.has("patient7", "patient7_2"), seen.has_patient("patient7")
    (True, False, True)
    >>> TrainedCases.read(seen.metadata) == seen
    True
    """

    salt: str
    names: frozenset[str]

    @classmethod
    def of(cls, cases: Iterable[tuple[str, str]], salt: str) -> "TrainedCases":
        """Name cases, each a patient and the case's own name."""
        empty = cls(salt, frozenset())
        return cls(salt, frozenset(empty.name(*case) for case in cases))

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> "TrainedCases | None":
        """Return what the metadata of a word say; None where they name no cases, as those of other tools."""
        if not metadata.get(CASES_KEY) or SALT_KEY not in metadata:
            return None
        return cls(metadata[SALT_KEY], frozenset(metadata[CASES_KEY].split()))

    @property
    def metadata(self) -> dict[str, str]:
        """What a word's file says of them."""
        return {SALT_KEY: self.salt, CASES_KEY: " ".join(sorted(self.names))}

    def name(self, patient: str, case: str) -> str:
        """Return what a case is called here."""
        key = hashlib.pbkdf2_hmac("sha256", str(patient).encode(), self.salt.encode(), NUM_ROUNDS).hex()
        return f"{key[:LENGTH]}.{hashlib.sha256(f'{key} {case}'.encode()).hexdigest()[:LENGTH]}"

    def has(self, patient: str, case: str) -> bool:
        """Tell whether the word was learned from a case."""
        return self.name(patient, case) in self.names

    def has_patient(self, patient: str) -> bool:
        """Tell whether the word was learned from a case of a patient."""
        return self.name(patient, "").partition(".")[0] in self._patients

    @cached_property
    def _patients(self) -> frozenset[str]:
        return frozenset(name.partition(".")[0] for name in self.names)
