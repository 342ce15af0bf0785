# SPDX-License-Identifier: Apache-2.0
"""The command ``phantoms``: studies in the formats of the public data sets, for machines without patients."""

from medti_components.data.prostate_phantom_studies import write_prostate_studies


class Phantoms:
    """Write phantom studies in the files of a public data set."""

    def prostate_mri(self, output_dir: str, num_negative: int = 100, num_positive: int = 100, seed: int = 0) -> None:
        """Write prostate MRI studies as PI-CAI has them, under ``output_dir``; point ``--dataset_dir`` there to train.

        Args:
            output_dir: folder that gets ``images/`` and ``picai_labels/``.
            num_negative: studies without a lesion.
            num_positive: studies with a lesion.
            seed: another one gives other patients, with other numbers.
        """
        names = write_prostate_studies(output_dir, num_negative, num_positive, seed)
        print(f"{len(names)} studies ({num_negative} negative, {num_positive} positive, seed {seed}) in {output_dir}")
