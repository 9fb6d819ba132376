#!/usr/bin/env python3
"""Makes the model beside this file, and what PyTorch's training steps do to it. Needs torch, transformers, safetensors.

Two layers of qwen3 with random weights are pruned to 2:4 by magnitude and trained for three steps in double precision
under that mask: AdamW on cross-entropy and, with the dense model as the teacher, on (1 - a) CE + a T^2 KL, with
gradients clipped to a norm. expected.safetensors holds losses, gradient norms and the weights after the last step.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

HERE = pathlib.Path(__file__).parent
STEPS, RATE, DECAY, CLIP, SHARE, TEMPERATURE = 3, 1e-2, 0.1, 0.5, 0.7, 2.0
CONFIG = Qwen3Config(vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                     head_dim=4, intermediate_size=24, max_position_embeddings=32, tie_word_embeddings=False,
                     initializer_range=0.3)  # fmt: skip


def make_model():
    torch.manual_seed(1)
    model = Qwen3ForCausalLM(CONFIG)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def masks_of(model):
    """2:4 along the rows of every linear layer of the decoder layers."""
    masks = {}
    for name, parameter in model.named_parameters():
        if name.endswith("_proj.weight"):
            groups = parameter.data.abs().reshape(-1, 4)
            mask = torch.zeros_like(groups).scatter_(1, groups.topk(2, dim=1).indices, 1)
            masks[name] = mask.reshape(parameter.shape)
    return masks


def loss_of(model, teacher, ids):
    logits = model(ids).logits[:, :-1].flatten(0, 1)
    loss = F.cross_entropy(logits, ids[:, 1:].flatten())
    if teacher is None:
        return loss
    with torch.no_grad():
        taught = F.log_softmax(teacher(ids).logits[:, :-1].flatten(0, 1) / TEMPERATURE, -1)
    own = F.log_softmax(logits / TEMPERATURE, -1)
    divergence = F.kl_div(own, taught, reduction="batchmean", log_target=True)
    return (1 - SHARE) * loss + SHARE * TEMPERATURE**2 * divergence


def train(dense, ids, distils):
    teacher = dense.double().eval()
    model = Qwen3ForCausalLM(CONFIG).double()
    model.load_state_dict(teacher.state_dict())
    masks = masks_of(model)
    for name, mask in masks.items():
        model.get_parameter(name).data *= mask
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, teacher if distils else None, ids)
        loss.backward()
        for name, mask in masks.items():
            model.get_parameter(name).grad *= mask
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms, model.state_dict()


def main():
    model = make_model()
    model.save_pretrained(HERE)
    (HERE / "generation_config.json").unlink(missing_ok=True)
    ids = torch.randint(0, CONFIG.vocab_size, (2, 12), generator=torch.Generator().manual_seed(2))
    expected = {"input_ids": ids}
    for case, distils in (("text", False), ("teacher", True)):
        losses, norms, weights = train(model, ids, distils)
        print(case, losses, norms)
        expected[f"{case}/losses"] = torch.tensor(losses, dtype=torch.float64)
        expected[f"{case}/gradient_norms"] = torch.tensor(norms, dtype=torch.float64)
        expected |= {f"{case}/{name}": value.float().contiguous() for name, value in weights.items()}
    save_file(expected, HERE / "expected.safetensors")


if __name__ == "__main__":
    main()
