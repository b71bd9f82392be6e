"""Certificates of the emitters in this folder, judged by the checker whose path is in SCALECHECK.

    SCALECHECK=target/release/scalecheck python3 interop/test_interop.py
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import alpha
import attack
import crown
import descend
import lp
from emitter import bundle, read_claim, witness, write

MODELS = HERE.parent / "models"
FINE = '{ family = "block-mean", shape = [8, 8], cutoff = 2 }'
FREE = '{ family = "none" }'


class Interop(unittest.TestCase):
    """Each test has a folder of its own with the model, the data, and one claim."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in ("digits-mlp.onnx", "digits-test.csv"):
            shutil.copy(MODELS / name, self.folder)

    def claim(self, output, inputs='file = "digits-test.csv"\nrows = [7]', scale=FREE, amplitude="1/8",
              model="digits-mlp.onnx", valid='valid = ["0", "1"]'):
        """Writes the claim, in place of any before."""
        text = f'model = "{model}"\n[inputs]\n{inputs}\n{valid}\n[[perturb]]\nsite = "input"\nscale = {scale}\n'
        self.path = self.folder / "claim.toml"
        self.path.write_text(f'{text}amplitude = "{amplitude}"\n[output]\n{output}\n')
        return read_claim(self.path)

    def certificate(self, claim, prove):
        return bundle(claim, {p.row: {"proof": prove(p)[0].json()} for p in claim.problems}, "test")

    def rebound(self, certificate):
        """The same answers for the claim that is there now."""
        return certificate | {"claim": hashlib.sha256(self.path.read_bytes()).hexdigest()}

    def verify(self, certificate):
        """Exit code and report of the checker."""
        write(self.folder / "claim.cert.json.gz", certificate)
        command = [os.environ["SCALECHECK"], "verify", "--json", self.path, self.folder / "claim.cert.json.gz"]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    def assert_verified(self, certificate):
        """VERIFIED; returns the proven tolerances of the rows."""
        code, report = self.verify(certificate)
        rows = report["settings"][0]["rows"]
        self.assertEqual((code, report["verdict"]), (0, "VERIFIED"), rows)
        return [float(Fraction(row["proven_tolerance"])) for row in rows if row["proven_tolerance"] is not None]

    def assert_rejected(self, certificate, reason):
        """REJECTED, and in some row for this reason."""
        code, report = self.verify(certificate)
        self.assertEqual((code, report["verdict"]), (1, "REJECTED"))
        self.assertIn(reason, [row.get("code") for row in report["settings"][0]["rows"]])

    def bound(self, claim, prove):
        """The tolerance that a prover finds for its one row, in floating point."""
        (problem,) = claim.problems
        return max(prove(problem)[1] / problem.scales)


def without_slopes(certificate):
    """A copy that leaves every slope to the checker."""
    copy = json.loads(json.dumps(certificate))
    for answer in copy["answers"]:
        del answer["proof"]["slopes"]
        entries = answer["proof"]["refine"] + answer["proof"]["nodes"][0]["close"]
        for entry in entries:
            entry.pop("slopes", None)
    return copy


def with_dangling_slopes(certificate):
    """A copy without the last slope set, which some entry still refers to."""
    copy = json.loads(json.dumps(certificate))
    copy["answers"][0]["proof"]["slopes"].pop()
    return copy


class Crown(Interop):
    def test_two_rows_are_verified_with_the_numbers_that_crown_found(self):
        claim = self.claim('tolerance = "2"', 'file = "digits-test.csv"\nrows = [5, 7]', FINE, "1/32")
        proven = self.assert_verified(self.certificate(claim, crown.prove))
        found = [max(crown.prove(p)[1] / p.scales) for p in claim.problems]
        np.testing.assert_allclose(proven, found, rtol=1e-4)

    def test_a_missing_slope_set_and_a_tolerance_below_an_attack_are_rejected(self):
        claim = self.claim('tolerance = "2"', scale=FINE, amplitude="1/32")
        certificate = self.certificate(claim, crown.prove)
        self.assert_verified(certificate)
        self.assert_rejected(with_dangling_slopes(certificate), "proof-reference")
        reached = attack.attack(claim.problems[0])[0]
        self.claim(f'tolerance = "{reached * 0.999:.6f}"', scale=FINE, amplitude="1/32")
        self.assertEqual(self.verify(certificate)[0], 3)
        self.assert_rejected(self.rebound(certificate), "cell-open")

    def test_the_winner_and_means_of_groups(self):
        inputs = 'file = "digits-test.csv"\nrows = "6..8"'
        claim = self.claim('decision = "winner"', inputs, FINE, "1/32")
        self.assert_verified(self.certificate(claim, crown.prove))
        groups = "coarse = { groups = [[0, 6, 8], [1, 7], [2, 3, 5], [4, 9]], reduce = \"mean\" }"
        claim = self.claim(f'{groups}\ntolerance = "10"')
        proven = self.assert_verified(self.certificate(claim, crown.prove))
        self.assertAlmostEqual(proven[0], self.bound(claim, crown.prove), delta=1e-3)

    def test_a_winner_that_does_not_stay_is_rejected(self):
        claim = self.claim('decision = "winner"', amplitude="1/2")
        self.assert_rejected(self.certificate(claim, crown.prove), "cell-open")


class Multipliers(Interop):
    def test_the_checker_uses_them_as_the_calculus_says(self):
        """β at a pre-activation adds β to its coefficient for −β l if β > 0, −β u else; cells carry the scale u too."""
        groups = "coarse = { groups = [[0, 6, 8], [1, 7], [2, 3, 5], [4, 9]], reduce = \"mean\" }"
        claim = self.claim(f'{groups}\ntolerance = "20"')
        (problem,) = claim.problems
        for beta in (0.75, -1.3):
            proof, bound = crown.prove(problem)
            slopes, proof.closes = proof.closes[0]["slopes"], []
            for _ in problem.cells:
                proof.close(slopes, [("hidden1.pre", 5, beta)])
            bounds, alphas = crown.pre_activation_bounds(problem)
            _, _, v = crown.back_substitute(problem, problem.cells, bounds, alphas)
            moved = v + beta * problem.network.layers[0].weight[5]
            price = -beta * bounds[0][0 if beta > 0 else 1][5]
            expected = bound - problem.domain.support(v) + problem.domain.support(moved) + price
            proven = self.assert_verified(self.certificate(claim, lambda _: (proof, expected)))
            self.assertGreater(max(expected - bound), 0.1)
            self.assertAlmostEqual(proven[0], max(expected / problem.scales), delta=1e-4)


class Alpha(Interop):
    def slopes(self, claim):
        return descend.slopes_of(claim.problems[0], 40)

    def test_better_slopes_prove_what_default_slopes_do_not(self):
        claim = self.claim('tolerance = "20"')
        arrays, bound = self.slopes(claim)
        middle = (max(bound) + self.bound(claim, crown.prove)) / 2
        claim = self.claim(f'tolerance = "{middle:.6f}"')
        certificate = self.certificate(claim, lambda p: alpha.prove(p, arrays))
        proven = self.assert_verified(certificate)
        self.assertAlmostEqual(proven[0], max(bound), delta=1e-3)
        self.assert_rejected(without_slopes(certificate), "cell-open")
        self.assert_rejected(self.certificate(claim, crown.prove), "cell-open")
        reached = attack.attack(claim.problems[0])[0]
        self.claim(f'tolerance = "{reached * 0.999:.6f}"')
        self.assert_rejected(self.rebound(certificate), "cell-open")

    def test_shared_slopes_one_list_an_output_and_wrong_ones(self):
        claim = self.claim('tolerance = "20"')
        arrays, _ = self.slopes(claim)
        shared = {"hidden1.pre": np.full(64, 0.5), "hidden2.pre": np.full(32, np.nan)}
        upper = {name: arrays[f"7|{name}"][1] for name in ("hidden1.pre", "hidden2.pre")}
        best, one, wrong = (
            self.assert_verified(self.certificate(claim, lambda p, a=a: alpha.prove(p, a)))[0]
            for a in (arrays, upper, shared)
        )
        self.assertLess(best, one)
        self.assertLess(one, wrong)


    def test_upper_bounds_close_what_rises(self):
        arrays = {"hidden2.pre": np.zeros((2, 10, 32))}
        arrays["hidden2.pre"][alpha.UPPER, 3] = 1
        proof = alpha.prove(self.claim('tolerance = "20"').problems[0], arrays)[0].json()
        sets = [proof["slopes"][entry["slopes"]][0]["lower"] for entry in proof["nodes"][0]["close"]]
        ones = [k for k, slopes in enumerate(sets) if slopes[0]]
        self.assertEqual(ones, [6])


def evaluate(problem, row, bounds, slopes, multipliers):
    """What a back-substitution of row · d with these slopes and multipliers gives."""
    v, constant, layers = row, 0.0, problem.network.layers
    for t in reversed(range(len(bounds))):
        v = v @ layers[t + 1].weight
        centre, (low, high) = problem.centres[t], bounds[t]
        default = crown.adaptive(centre, low, high)
        alphas = np.where(np.isnan(slopes[layers[t].name]), default, slopes[layers[t].name])
        below = crown.lower_slopes(alphas, centre, low, high)
        above, offset = crown.upper_line(centre, low, high)
        constant += np.where(v >= 0, v * offset, v * (below * centre - np.maximum(centre, 0))).sum()
        v = v * np.where(v >= 0, above, below)
        for name, i, beta in multipliers:
            if name == layers[t].name:
                v[i] += beta
                constant -= beta * (low if beta > 0 else high)[i]
    return constant + problem.domain.support((v @ layers[0].weight)[None])[0]


class LinearPrograms(Interop):
    def test_duals_of_bounds_that_cut_become_multipliers(self):
        """Bounds tighter than the relaxation implies, as after a split: the multipliers must make up for it."""
        claim = self.claim('tolerance = "20"', 'file = "digits-test.csv"\nrows = [5, 7]')
        for problem, part in zip(claim.problems, (0.2, 0.5)):
            bounds = [(part * low, part * high) for low, high in crown.pre_activation_bounds(problem)[0]]
            relaxation = lp.Relaxation(problem, bounds)
            for cell in problem.cells[:6]:
                optimum, slopes, multipliers = relaxation.maximise(cell)
                self.assertAlmostEqual(evaluate(problem, cell, bounds, slopes, multipliers), optimum, delta=1e-6)
                self.assertGreater(evaluate(problem, cell, bounds, slopes, []), optimum + 1e-3)

    def test_duals_give_the_optimum_of_the_relaxation(self):
        claim = self.claim('tolerance = "20"')
        optimum = self.bound(claim, lp.prove)
        self.assertLess(optimum, max(self.alpha_bound(claim)))
        claim = self.claim(f'tolerance = "{optimum + 0.001:.6f}"')
        certificate = self.certificate(claim, lp.prove)
        self.assert_verified(certificate)
        self.assert_rejected(without_slopes(certificate), "cell-open")
        reached = attack.attack(claim.problems[0])[0]
        self.claim(f'tolerance = "{reached * 0.999:.6f}"')
        self.assert_rejected(self.rebound(certificate), "cell-open")

    def alpha_bound(self, claim):
        return descend.slopes_of(claim.problems[0], 40)[1]

    def test_zero_sums_of_blocks(self):
        claim = self.claim('tolerance = "20"', scale=FINE)
        proven = self.assert_verified(self.certificate(claim, lp.prove))
        self.assertAlmostEqual(proven[0], self.bound(claim, lp.prove), delta=1e-3)
        self.assertLess(proven[0], self.bound(claim, crown.prove))


class Witnesses(Interop):
    def test_an_attack_refutes_what_it_reaches_and_nothing_more(self):
        claim = self.claim('tolerance = "1"', scale=FINE)
        reached, breaks, z = attack.attack(claim.problems[0])
        self.assertTrue(breaks)
        answers = {7: {"witness": witness([attack.exact(claim.problems[0], z)])}}
        self.claim(f'tolerance = "{reached * 0.999:.6f}"', scale=FINE)
        code, report = self.verify(self.rebound(bundle(claim, answers, "test")))
        self.assertEqual((code, report["verdict"]), (10, "REFUTED"))
        self.claim(f'tolerance = "{reached * 1.001:.6f}"', scale=FINE)
        self.assert_rejected(self.rebound(bundle(claim, answers, "test")), "witness-harmless")


class Models(Interop):
    def test_matmul_add_and_a_point_without_a_file(self):
        draw = np.random.default_rng(1)
        sizes, nodes, weights, current = [4, 6, 5, 3], [helper.make_node("Flatten", ["x"], ["flat"])], [], "flat"
        for k, (n, m) in enumerate(zip(sizes, sizes[1:])):
            for name, shape in ((f"w{k}", (n, m)), (f"b{k}", (m,))):
                weights.append(numpy_helper.from_array(draw.normal(size=shape).astype(np.float32), name))
            nodes.append(helper.make_node("MatMul", [current, f"w{k}"], [f"m{k}"]))
            nodes.append(helper.make_node("Add", [f"m{k}", f"b{k}"], [f"a{k}"]))
            current = f"r{k}"
            nodes.append(helper.make_node("Relu", [f"a{k}"], [current]))
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n]) for name, n in (("x", 4), ("a2", 3))]
        graph = helper.make_graph(nodes[:-1], "small", ends[:1], ends[1:], weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), self.folder / "small.onnx")
        point = 'point = [0, "1/2", "-0.25", 1]'
        claim = self.claim('tolerance = "100"', point, amplitude="1", model="small.onnx", valid="")
        for prove in (crown.prove, lp.prove):
            proven = self.assert_verified(self.certificate(claim, prove))
            self.assertAlmostEqual(proven[0], self.bound(claim, prove), delta=1e-3)


if __name__ == "__main__":
    unittest.main()
