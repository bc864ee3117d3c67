"""Training spread over two processes with FSDP2 is the training of one process."""

import os
import sys

import pytest
import torch
import torch.distributed as dist

WORLD = 2
CONFIG = dict(
    vocab_size=50, decoder_embed_dim=32, decoder_layers=2, decoder_attention_heads=2, glu_dim=48
)


def model_of_seed():
    from tnl.nn import TransNormerConfig, TransNormerLM

    torch.manual_seed(1)
    return TransNormerLM(TransNormerConfig(**CONFIG))


def one_step(model, tokens):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loss = model(tokens, targets=tokens.roll(-1, 1))
    loss.backward()
    optimizer.step()
    return loss.detach()


def sharded(mode, mesh):
    from torch.distributed.algorithms._checkpoint import checkpoint_wrapper
    from torch.distributed.fsdp import fully_shard

    model = model_of_seed()
    if mode == "checkpointed":
        checkpoint_wrapper.apply_activation_checkpointing(
            model, check_fn=lambda m: type(m).__name__ == "TnlLayer"
        )
    if mode == "compiled":
        for layer in model.model.layers:
            layer.compile(backend="aot_eager", fullgraph=True)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def worker(rank, address):
    from torch.distributed.device_mesh import init_device_mesh

    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=WORLD)
    try:
        mesh = init_device_mesh("cpu", (WORLD,))
        generator = torch.Generator().manual_seed(3)
        batch = torch.randint(50, (2 * WORLD, 21), generator=generator)
        whole = model_of_seed()
        expected = one_step(whole, batch)
        for mode in ("plain", "checkpointed", "compiled"):
            model = sharded(mode, mesh)
            loss = one_step(model, batch[2 * rank : 2 * rank + 2])
            dist.all_reduce(loss)
            assert torch.allclose(loss / WORLD, expected, rtol=1e-5), mode
            for (name, found), wanted in zip(model.named_parameters(), whole.parameters()):
                # Adam's first step is the sign of a gradient: a tiny one may fall either way.
                error = (found.full_tensor() - wanted).abs()
                assert error.mean() < 1e-5, (mode, name)
                assert (error > 1e-4).float().mean() < 1e-3, (mode, name)
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(),
                    reason="this build of PyTorch has no gloo")
@pytest.mark.skipif(sys.platform != "linux", reason="processes are started as on Linux")
def test_two_processes_train_as_one(tmp_path):
    pytest.importorskip("torch.distributed.fsdp", reason="this build of PyTorch has no FSDP")
    if not hasattr(torch.distributed.fsdp, "fully_shard"):
        pytest.skip("this release of PyTorch has no fully_shard (FSDP2)")
    torch.multiprocessing.spawn(worker, (f"file://{tmp_path}/rendezvous",), nprocs=WORLD)
