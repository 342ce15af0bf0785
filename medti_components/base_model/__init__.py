# SPDX-License-Identifier: Apache-2.0
"""The training of the embedded base model, from captioned scenes to a folder in the layout of diffusers.

``captioned_scenes`` draws what a scene holds and its caption, ``scene_renderer`` the pixels. ``scene_dataset`` keeps
many of them in memory, with the token ids of ``caption_tokenizer``. ``autoencoder`` and ``caption_image_contrast`` are
networks with their losses. ``stages`` has one step of each stage, ``scene_scores`` measures the results, ``export``
writes the model.
"""
