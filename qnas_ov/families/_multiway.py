"""BEiT-3 in torch: a transformer whose image tokens (A) and text tokens (B) have experts of their own.

W. Wang et al., arXiv 2208.10442; attention is shared in the sense that all tokens attend to all. Modules bear the names
of torchscale and of Microsoft's fine-tuned checkpoints, so that their tensors load as they are; like these (`beit3/
modeling_finetune.py` in github.com/microsoft/unilm) the classifiers have no normalisation after the last block. Only
what inference needs is here: no dropout, no stochastic depth, no caching.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

_FIRST_POSITION = 2  # torchscale counts positions from here: 0 and 1 are for padding
_MASKED = -1e9  # far below any score in every inference precision, and no infinity


@dataclass(frozen=True)
class MultiwaySize:
    """Dimensions of a BEiT-3.

    Attributes:
        hidden: Channels of a token.
        depth: Blocks.
        heads: Attention heads of a block.
        ffn: Feed-forward neurons of an expert.
        image: Side of an image in pixels.
        patch: Side of a patch in pixels.
        colours: Channels of an image.
        vocabulary: Tokens of text there are.
        positions: Text positions that the checkpoint has embeddings for.
        tokens: Tokens of text in an input, 0 if it takes images alone: then there are no experts for text.
        classes: What the head scores.
        eps: Of the normalisations.
    """

    hidden: int
    depth: int
    heads: int
    ffn: int
    image: int
    patch: int
    colours: int
    vocabulary: int
    positions: int
    tokens: int
    classes: int
    eps: float

    @property
    def image_tokens(self) -> int:
        """Patches and the class token."""
        return (self.image // self.patch) ** 2 + 1

    @property
    def parts(self) -> list[int]:
        """Tokens of each kind."""
        return [self.image_tokens, self.tokens] if self.tokens else [self.image_tokens]


class _Multiway(nn.Module):
    """One module for image tokens (A) and, where there is text, another for text tokens (B)."""

    def __init__(self, make: Callable[[], nn.Module], parts: list[int]) -> None:
        super().__init__()
        self._parts = parts
        self.A = make()
        if len(parts) > 1:
            self.B = make()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if len(self._parts) == 1:
            found: torch.Tensor = self.A(hidden)
            return found
        image, text = hidden.split(self._parts, dim=1)
        return torch.cat([self.A(image), self.B(text)], dim=1)


class _Attention(nn.Module):
    def __init__(self, size: MultiwaySize) -> None:
        super().__init__()
        self._head_size, self._tokens = size.hidden // size.heads, sum(size.parts)

        def linear() -> nn.Module:
            return nn.Linear(size.hidden, size.hidden)

        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (_Multiway(linear, size.parts) for _ in range(4))
        self.inner_attn_ln = _Multiway(lambda: nn.LayerNorm(size.hidden, eps=size.eps), size.parts)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        query, key, value = (self._heads(project(hidden)) for project in (self.q_proj, self.k_proj, self.v_proj))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        found: torch.Tensor = mixed.transpose(1, 2).reshape(hidden.shape[0], self._tokens, -1)
        return self.out_proj(self.inner_attn_ln(found))

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        return projected.view(projected.shape[0], self._tokens, -1, self._head_size).transpose(1, 2)


class _FeedForward(nn.Module):
    def __init__(self, size: MultiwaySize) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size.hidden, size.ffn)
        self.fc2 = nn.Linear(size.ffn, size.hidden)
        self.ffn_layernorm = nn.LayerNorm(size.ffn, eps=size.eps)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.ffn_layernorm(functional.gelu(self.fc1(hidden))))


class _Block(nn.Module):
    def __init__(self, size: MultiwaySize) -> None:
        super().__init__()

        def norm() -> nn.Module:
            return nn.LayerNorm(size.hidden, eps=size.eps)

        self.self_attn = _Attention(size)
        self.self_attn_layer_norm = _Multiway(norm, size.parts)
        self.ffn = _Multiway(lambda: _FeedForward(size), size.parts)
        self.final_layer_norm = _Multiway(norm, size.parts)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        hidden = hidden + self.self_attn(self.self_attn_layer_norm(hidden), mask)
        return hidden + self.ffn(self.final_layer_norm(hidden))


class _VisionEmbedding(nn.Module):
    def __init__(self, size: MultiwaySize) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, size.hidden))
        self.proj = nn.Conv2d(size.colours, size.hidden, kernel_size=size.patch, stride=size.patch)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        patches = self.proj(pixels).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(pixels.shape[0], -1, -1), patches], dim=1)


class _Encoder(nn.Module):
    def __init__(self, size: MultiwaySize) -> None:
        super().__init__()
        self._size = size
        images = nn.Embedding(size.image_tokens + _FIRST_POSITION, size.hidden)
        self.embed_positions = nn.ModuleDict({"A": images})
        if size.tokens:
            self.embed_positions["B"] = nn.Embedding(size.positions, size.hidden)
        self.layers = nn.ModuleList(_Block(size) for _ in range(size.depth))

    def _tables(self) -> list[nn.Embedding]:
        return [table for table in self.embed_positions.values() if isinstance(table, nn.Embedding)]

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        places = [
            table.weight[_FIRST_POSITION : _FIRST_POSITION + count]
            for table, count in zip(self._tables(), self._size.parts, strict=True)
        ]
        hidden = hidden + torch.cat(places)
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return hidden


class _BEiT3(nn.Module):
    def __init__(self, size: MultiwaySize) -> None:
        super().__init__()
        if size.tokens:
            self.text_embed = nn.Embedding(size.vocabulary, size.hidden)
        self.vision_embed = _VisionEmbedding(size)
        self.encoder = _Encoder(size)

    def forward(
        self, pixels: torch.Tensor, tokens: torch.Tensor | None, attention_mask: torch.Tensor | None
    ) -> torch.Tensor:
        hidden = self.vision_embed(pixels)
        if tokens is None or attention_mask is None:
            return self.encoder(hidden, None)
        seen = torch.ones_like(hidden[:, :, 0])
        mask = torch.cat([seen, attention_mask.to(seen.dtype)], dim=1)
        additive = (1.0 - mask[:, None, None, :]) * _MASKED
        return self.encoder(torch.cat([hidden, self.text_embed(tokens)], dim=1), additive)


class ImageClassifier(nn.Module):
    """Scores classes of images by the mean over the patches."""

    def __init__(self, size: MultiwaySize) -> None:
        super().__init__()
        self.beit3 = _BEiT3(size)
        self.fc_norm = nn.LayerNorm(size.hidden)
        self.head = nn.Linear(size.hidden, size.classes)

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images (n, colours, side, side) to "logits" (n, classes)."""
        hidden = self.beit3(pixel_values, None, None)
        return {"logits": self.head(self.fc_norm(hidden[:, 1:].mean(1)))}


class _Pooler(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dense = nn.Linear(width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.dense(self.norm(hidden[:, 0])))


class ImageTextClassifier(nn.Module):
    """Scores classes of an image together with a text: the answers to a question about it."""

    def __init__(self, size: MultiwaySize) -> None:
        super().__init__()
        self.beit3 = _BEiT3(size)
        wide = 2 * size.hidden
        self.pooler = _Pooler(size.hidden)
        self.head = nn.Sequential(
            nn.Linear(size.hidden, wide), nn.LayerNorm(wide), nn.GELU(), nn.Linear(wide, size.classes)
        )

    def forward(
        self, pixel_values: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Images (n, colours, side, side), tokens and their mask of 0 and 1 (n, tokens) to "logits" (n, classes)."""
        return {"logits": self.head(self.pooler(self.beit3(pixel_values, input_ids, attention_mask)))}
