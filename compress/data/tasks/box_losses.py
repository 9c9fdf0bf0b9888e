"""Losses of boxes: queries of a detector are paired with the objects of a picture, or with another model's queries.

    cost [queries, objects] = class + 5 L1 + 2 (1 - GIoU)  --Hungarian algorithm-->  pairs with the least sum
    loss = classes of all queries + (5 L1 + 2 (1 - GIoU)) of the pairs / objects

DETR's loss (Carion et al. 2020, arXiv:2005.12872) for a last class "no object"; RT-DETR's (Zhao et al. 2023,
arXiv:2304.08069) with its varifocal loss for sigmoids. Departures: only the last decoder layer has a loss, and each
picture is divided by its own number of objects, not by the batch's.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

L1, GIOU = 5.0, 2.0
"""Weights of a pair's distance of boxes, in the cost and in the loss."""
NO_OBJECT = 0.1
"""Weight of queries without an object in DETR's cross entropy."""
CLASS_COST, FOCAL_ALPHA, FOCAL_GAMMA = 2.0, 0.25, 2.0
"""RT-DETR's cost of a class."""
VARIFOCAL_ALPHA, VARIFOCAL_GAMMA = 0.75, 2.0


def has_no_object(logits: "torch.Tensor", classes: int) -> bool:
    """Return whether the last of a detector's outputs [.., outputs] stands for no object: it has one more than classes.

    Then scores are a softmax over all outputs; otherwise each class has a sigmoid of its own.
    """
    return logits.shape[-1] == classes + 1


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] losses of pictures, and [batch] ones; float64.

    logits [batch, queries, outputs + 4] end in a box: centre x and y, width and height in parts of the picture. labels
    [batch, most objects, classes + 4] have 1 at the class of an object, and its box; rows without a class are padding.
    """
    import torch

    labels = labels.to(logits.device)
    classes = labels.shape[-1] - 4
    each = torch.stack(
        [
            _loss(own.float(), rows[rows[:, :classes].sum(-1) > 0], classes)
            for own, rows in zip(logits, labels, strict=True)
        ]
    )
    return each.double(), torch.ones(len(each), dtype=torch.float64, device=each.device)


def _loss(own: "torch.Tensor", objects: "torch.Tensor", classes: int) -> "torch.Tensor":
    """Return the loss of one picture: own [queries, outputs + 4], objects [objects, classes + 4]."""
    import torch
    from torch.nn import functional

    logits, boxes = own[:, :-4], own[:, -4:]
    kinds, theirs = objects[:, :classes].argmax(-1), objects[:, classes:]
    softmax = has_no_object(logits, classes)
    with torch.no_grad():
        cost = L1 * torch.cdist(boxes, theirs, p=1) - GIOU * overlap(boxes[:, None], theirs[None])[1]
        queries, chosen = assigned(cost + (_softmax_cost if softmax else _focal_cost)(logits)[:, kinds])
    count = max(1, len(objects))
    shared, generalised = overlap(boxes[queries], theirs[chosen])
    distance = L1 * (boxes[queries] - theirs[chosen]).abs().sum() + GIOU * (1 - generalised).sum()
    if softmax:
        wanted = torch.full((len(logits),), classes, device=logits.device)
        wanted[queries] = kinds[chosen]
        weight = torch.ones(classes + 1, device=logits.device)
        weight[-1] = NO_OBJECT
        return functional.cross_entropy(logits, wanted, weight) + distance / count
    target, is_object = torch.zeros_like(logits), torch.zeros_like(logits)
    target[queries, kinds[chosen]], is_object[queries, kinds[chosen]] = shared.detach(), 1.0
    weight = VARIFOCAL_ALPHA * logits.detach().sigmoid() ** VARIFOCAL_GAMMA * (1 - is_object) + target
    varifocal = functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    return (varifocal + distance) / count


def _softmax_cost(logits: "torch.Tensor") -> "torch.Tensor":
    return -logits.softmax(-1)


def _focal_cost(logits: "torch.Tensor") -> "torch.Tensor":
    chance, tiny = logits.sigmoid(), 1e-8
    absent = (1 - FOCAL_ALPHA) * chance**FOCAL_GAMMA * -(1 - chance + tiny).log()
    there = FOCAL_ALPHA * (1 - chance) ** FOCAL_GAMMA * -(chance + tiny).log()
    return CLASS_COST * (there - absent)


def soft_loss(student: "torch.Tensor", teacher: "torch.Tensor", temperature: float) -> "torch.Tensor":
    """Return the mean squared difference of logits + 5 L1 of boxes, over pairs of queries.

    Both are [batch, queries, outputs + 4]. Queries are paired by the Hungarian algorithm with this distance: some
    detectors choose or order them by picture. No temperature applies.
    """
    import torch

    found = []
    for ours, theirs in zip(student.float(), teacher.float(), strict=True):
        with torch.no_grad():
            mean = torch.cdist(ours[:, :-4], theirs[:, :-4]) ** 2 / (ours.shape[-1] - 4)
            own, other = assigned(mean + L1 * torch.cdist(ours[:, -4:], theirs[:, -4:], p=1))
        apart = ours[own] - theirs[other]
        found.append(apart[:, :-4].square().mean(-1).mean() + L1 * apart[:, -4:].abs().sum(-1).mean())
    return torch.stack(found).mean()


def assigned(cost: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return rows and columns of the pairs with the least sum of costs [rows, columns]."""
    import torch
    from scipy.optimize import linear_sum_assignment

    most = torch.finfo(torch.float32).max
    finite = torch.nan_to_num(cost.float(), nan=most, posinf=most, neginf=most).cpu()
    rows, columns = (torch.as_tensor(each, device=cost.device) for each in linear_sum_assignment(finite))
    return rows, columns


def overlap(ours: "torch.Tensor", theirs: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return IoU and GIoU (Rezatofighi et al. 2019, arXiv:1902.09630) of boxes [.., 4]: centre, width and height."""
    import torch

    first, second = ((each[..., :2] - each[..., 2:] / 2, each[..., :2] + each[..., 2:] / 2) for each in (ours, theirs))
    inner = (torch.minimum(first[1], second[1]) - torch.maximum(first[0], second[0])).clamp(min=0).prod(-1)
    outer = (torch.maximum(first[1], second[1]) - torch.minimum(first[0], second[0])).prod(-1)
    either = ours[..., 2:].prod(-1) + theirs[..., 2:].prod(-1) - inner
    iou = inner / either
    return iou, iou - (outer - either) / outer
