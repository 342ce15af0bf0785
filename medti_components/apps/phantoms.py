# SPDX-License-Identifier: Apache-2.0
"""The command ``phantoms``: studies in the formats of the public data sets, for machines without patients."""


class Phantoms:
    """Write phantom studies in the files of a public data set."""

    def prostate_mri(
        self,
        output_dir: str,
        num_negative: int = 100,
        num_positive: int = 100,
        seed: int = 0,
        difficulty: str = "default",
    ) -> str:
        """Write prostate MRI studies as PI-CAI has them, under ``output_dir``; point ``--dataset_dir`` there to train.

        Args:
            output_dir: folder that gets ``images/`` and ``picai_labels/``.
            num_negative: studies without a lesion.
            num_positive: studies with a lesion.
            seed: another one gives other patients, with other numbers.
            difficulty: default, or hard for small, at times faint lesions, and benign look-alikes in both classes.
        """
        from medti_components.data.phantoms.prostate_phantom import write_prostate_studies

        names = write_prostate_studies(output_dir, num_negative, num_positive, seed, difficulty=difficulty)
        return f"{len(names)} studies ({num_negative} negative, {num_positive} positive, seed {seed}) in {output_dir}"

    def chest_xray(
        self,
        output_dir: str,
        num_no_finding: int = 100,
        num_cardiomegaly: int = 100,
        num_pleural_effusion: int = 100,
        num_pneumonia: int = 100,
        seed: int = 0,
        share_of_others: float = 0.25,
    ) -> str:
        """Write chest radiographs as CheXpert has them, under ``output_dir``; point ``--dataset_dir`` there to train.

        Args:
            output_dir: folder that gets ``CheXpert-v1.0-phantom/`` with ``train.csv`` and the JPGs.
            num_no_finding: AP images of healthy chests.
            num_cardiomegaly: AP images with a large heart alone.
            num_pleural_effusion: AP images with fluid at one lung base or both alone.
            num_pneumonia: AP images with patchy opacities alone.
            seed: another one gives other patients, with other numbers.
            share_of_others: as many more, as a share: with several findings, in PA view, or with an uncertain label.
        """
        from medti_components.data.phantoms.chest_phantom import write_chest_studies

        numbers = {
            "no_finding": num_no_finding,
            "cardiomegaly": num_cardiomegaly,
            "pleural_effusion": num_pleural_effusion,
            "pneumonia": num_pneumonia,
        }
        names = write_chest_studies(output_dir, numbers, seed, share_of_others)
        single = ", ".join(f"{number} {name}" for name, number in numbers.items())
        others = len(names) - sum(numbers.values())
        return f"{len(names)} images ({single}, {others} others, seed {seed}) in {output_dir}"

    def histopathology(self, output_dir: str, num_normal: int = 100, num_tumor: int = 100, seed: int = 0) -> str:
        """Write patches of stained sections as Patch Camelyon has them; point ``--dataset_dir`` there to train.

        Args:
            output_dir: folder that gets ``camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5``.
            num_normal: patches without tumour in each of the three.
            num_tumor: patches with tumour in the centre in each of the three.
            seed: another one gives other slides.
        """
        from medti_components.data.phantoms.histology_phantom import write_histology_patches

        write_histology_patches(output_dir, num_normal, num_tumor, seed)
        each = f"{num_normal} normal and {num_tumor} tumor in each of train, valid and test"
        return f"{3 * (num_normal + num_tumor)} patches ({each}, seed {seed}) in {output_dir}"
