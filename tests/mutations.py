"""Faults of the systems, each with the test that must notice it: what the specification calls the toy version.

`python tests/mutate.py [ROW …]` plants them one by one in a copy of the package and runs their tests. The suite itself
checks that every fault can still be planted (tests/test_mutations.py).
"""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """In `file`, below tinygrad_zoo/, `old`, which stands there once, becomes `new`; then `test` must fail."""

    row: str
    file: str
    old: str
    new: str
    test: str  # "test_flows.py::test_laws"; all its parameters are run


MUTATIONS = [
    # ---- E3
    Mutation(
        "E3",
        "stochastic_approximation.py",
        "(lambda k: 1 / k)",
        "(lambda k: 1 / (k + 1))",
        "test_stochastic_approximation.py::test_one_over_k_is_the_mean_so_far",
    ),
    Mutation(
        "E3",
        "stochastic_approximation.py",
        "return (running.update(x).mean for x in stream)",
        "return iter([running.update(x).mean for x in stream])",
        "test_stochastic_approximation.py::test_a_long_stream_is_never_held",
    ),
    Mutation(
        "E3",
        "stochastic_approximation.py",
        "= 1, array.copy(), array * 0, array * 0",
        "= 1, array * 0, array.copy(), array * 0",
        "test_stochastic_approximation.py::test_moments_far_from_zero_lose_no_digits",
    ),
    Mutation(
        "E3",
        "stochastic_approximation.py",
        "(x - offset) * (x - new)",
        "(x - offset) * (x - offset)",
        "test_stochastic_approximation.py::test_moments_far_from_zero_lose_no_digits",
    ),
    Mutation(
        "E3",
        "stochastic_approximation.py",
        " + delta * delta * (share * self.count)",
        "",
        "test_stochastic_approximation.py::test_merged_moments_are_those_of_the_whole",
    ),
    Mutation(
        "E3",
        "stochastic_approximation.py",
        "self.count, self._mean = 1, array.copy()",
        "self.count, self._mean = 1, array.mean()",
        "test_stochastic_approximation.py::test_one_over_k_is_the_mean_so_far",
    ),
    Mutation(
        "E3",
        "models/stochastic_approximation/incremental_mean.py",
        "alpha / (2 - alpha)",
        "alpha / 2",
        "test_incremental_mean.py::test_a_run_of_another_alpha_is_judged_by_its_own_variance",
    ),
    # ---- E4
    Mutation(
        "E4",
        "stochastic_approximation.py",
        "w - a(k) * _floats(g_noisy(w))",
        "w - a(1) * _floats(g_noisy(w))",
        "test_stochastic_approximation.py::test_mean_estimation_is_robbins_monro",
    ),
    Mutation(
        "E4",
        "stochastic_approximation.py",
        "return range(first, first + n)",
        "return range(1, 1 + n)",
        "test_stochastic_approximation.py::test_steps_go_on_where_another_call_ended",
    ),
    Mutation(
        "E4",
        "stochastic_approximation.py",
        "p <= 1, 2 * p > 1",
        "p < 1, 2 * p > 1",
        "test_stochastic_approximation.py::test_step_sizes_of_a_family_are_decided_by_the_exponent",
    ),
    Mutation(
        "E4",
        "stochastic_approximation.py",
        "a(k) / (2 * c(k)) * difference\n",
        "a(k) / c(k) * difference\n",
        "test_stochastic_approximation.py::test_differences_without_noise_are_the_gradient",
    ),
    Mutation(
        "E4",
        "stochastic_approximation.py",
        "difference[..., None] * signs",
        "difference[..., None]",
        "test_stochastic_approximation.py::test_differences_without_noise_are_the_gradient",
    ),
    Mutation(
        "E4",
        "models/stochastic_approximation/robbins_monro.py",
        "to_device(SIGMA * state.rng",
        "to_device(0 * state.rng",
        "test_robbins_monro.py::test_robbins_monro_reaches_the_limit_and_its_counter_examples_do_not",
    ),
    Mutation(
        "E4",
        "models/stochastic_approximation/robbins_monro.py",
        '"stalling": PowerSteps(1.0, 2.0)',
        '"stalling": PowerSteps(1.0, 1.0)',
        "test_robbins_monro.py::test_robbins_monro_reaches_the_limit_and_its_counter_examples_do_not",
    ),
    Mutation(
        "E4",
        "models/stochastic_approximation/robbins_monro.py",
        '"hovering": PowerSteps(0.1, 0.0)',
        '"hovering": PowerSteps(0.1, 1.0)',
        "test_robbins_monro.py::test_robbins_monro_reaches_the_limit_and_its_counter_examples_do_not",
    ),
    Mutation(
        "E4",
        "models/stochastic_approximation/sgd_as_robbins_monro.py",
        '"single": (x[:1], y[:1])',
        '"single": (x, y)',
        "test_robbins_monro.py::test_the_averaging_sets_differ_in_nothing_else",
    ),
    # ---- P1
    Mutation(
        "P1",
        "models/perceptron/rule.py",
        "where(wrong, self.eta * sign, 0.0)",
        "where(wrong, self.eta * sign, self.eta * sign / (1 + namespace(w).exp(sign * b[0])))",
        "test_perceptron.py::test_the_weights_are_those_of_sklearn",
    ),
    Mutation(
        "P1",
        "models/perceptron/rule.py",
        "wrong = sign * ((w[0] * x).sum() + b[0]) <= 0",
        "wrong = sign * ((w[0] * x).sum() + b[0]) < 0",
        "test_perceptron.py::test_the_weights_are_those_of_sklearn",
    ),
    Mutation(
        "P1",
        "models/perceptron/rule.py",
        "self.mistakes_per_epoch_[-1:] == [0]",
        "len(self.mistakes_per_epoch_) > 0",
        "test_perceptron.py::test_xor_never_converges",
    ),
    Mutation(
        "P1",
        "models/perceptron/rule.py",
        "errors < self.errors.data",
        "errors >= 0",
        "test_perceptron.py::test_the_pocket_keeps_the_best_weights_met",
    ),
    Mutation("P1", "models/perceptron/logic.py", "[0.5, 1.5]", "[0.5, 0.5]", "test_perceptron.py::test_not_and_xor"),
    Mutation(
        "P1",
        "nn/threshold.py",
        "ops.step(self.potential(x))",
        "ops.sigmoid(self.potential(x))",
        "test_perceptron.py::test_no_gradient_comes_through_the_threshold",
    ),
    # ---- P2
    Mutation(
        "P2",
        "models/perceptron/rule.py",
        "b += push",
        "b += 0 * push",
        "test_bias.py::test_a_learnt_threshold_is_no_worse_than_the_best_of_a_grid",
    ),
    Mutation(
        "P2",
        "nn/threshold.py",
        "return -self.bias",
        "return self.bias",
        "test_perceptron.py::test_the_unit_fires_above_its_threshold_and_not_on_it",
    ),
    Mutation(
        "P2",
        "models/perceptron/bias.py",
        "[weight, bias[:, None]]",
        "[weight, -bias[:, None]]",
        "test_bias.py::test_a_bias_is_a_weight_on_a_constant_input",
    ),
    Mutation(
        "P2",
        "models/perceptron/bias.py",
        "unit.bias.data = -np.asarray(thresholds)",
        "unit.bias.data = np.asarray(thresholds)",
        "test_bias.py::test_a_higher_threshold_fires_less",
    ),
    Mutation(
        "P2",
        "models/perceptron/bias.py",
        '"biased": nn.Linear(1, 1, rng=rng)',
        '"biased": nn.Linear(1, 1, bias=False, rng=rng)',
        "test_bias.py::test_the_recipe_meets_its_bar",
    ),
    Mutation(
        "P2",
        "models/perceptron/bias.py",
        "norm(layer(x))",
        "layer(x)",
        "test_bias.py::test_a_bias_before_batch_norm_has_no_gradient",
    ),
    # ---- G1
    Mutation(
        "G1",
        "information.py",
        "return _summed(_relative_entropy(p, q), axis, cell)",
        "return _summed(_relative_entropy(q, p), axis, cell)",
        "test_divergences.py::test_kl_is_of_the_first_under_the_first",
    ),
    Mutation(
        "G1",
        "information.py",
        "    none = p == 0\n",
        "    none = q == 0\n",
        "test_divergences.py::test_supports_that_part",
    ),
    Mutation(
        "G1",
        "models/autoregressive/mode_seeking.py",
        '"KL(p‖q)": of_densities(information.kl)',
        '"KL(p‖q)": of_densities(information.reverse_kl)',
        "test_mode_seeking.py::test_kl_covers_and_its_reverse_seeks",
    ),
    Mutation(
        "G1",
        "models/autoregressive/made.py",
        "bits[:, None] > degrees[-1]",
        "bits[:, None] >= degrees[-1]",
        "test_made.py::test_laws",
    ),
    Mutation(
        "G1",
        "models/autoregressive/made.py",
        "bits = np.argsort(order) + 1",
        "bits = np.arange(n) + 1",
        "test_made.py::test_laws",
    ),
    Mutation(
        "G1",
        "models/autoregressive/made.py",
        "fill(x, uniform, self.orders[which],",
        "fill(x, uniform, self.order,",
        "test_made.py::test_draws_agree_with_the_density_of_the_mixture",
    ),
    Mutation(
        "G1",
        "models/autoregressive/made.py",
        "ops.logsumexp(each, axis=0) - math.log(len(self.orders))",
        "each.mean(axis=0)",
        "test_made.py::test_the_mixture_is_the_mean_of_its_orders",
    ),
    Mutation(
        "G1",
        "models/autoregressive/made.py",
        "range(config.orders - 1))]",
        "range(0))]",
        "test_made.py::test_the_recipe_learns_in_every_order",
    ),
    Mutation(
        "G1",
        "models/autoregressive/fvsbn.py",
        "(rank < rank[:, None])",
        "(rank <= rank[:, None])",
        "test_fvsbn.py::test_laws",
    ),
    Mutation(
        "G1",
        "models/autoregressive/nade.py",
        "ops.concat(first, x[:, :-1, None] * self.weight, axis=1)",
        "ops.concat(x[:, :-1, None] * self.weight, first, axis=1)",
        "test_nade.py::test_laws",
    ),
    Mutation(
        "G1",
        "models/autoregressive/nade.py",
        "running = running + x[:, i : i + 1]",
        "running = self.hidden_bias + x[:, i : i + 1]",
        "test_nade.py::test_the_running_sum_draws_what_whole_passes_draw",
    ),
    Mutation(
        "G1",
        "models/autoregressive/base.py",
        "uniform[:, i] < ops.sigmoid(",
        "uniform[:, i] > ops.sigmoid(",
        "test_fvsbn.py::test_draws_agree_with_the_density",
    ),
    Mutation(
        "G1",
        "nn/masked.py",
        '+ (mask_type == "B")',
        "+ 1",
        "test_pixelcnn.py::test_a_pixel_sees_those_before_it_and_never_itself",
    ),
    Mutation(
        "G1",
        "models/autoregressive/pixelcnn.py",
        "self.labels[i](labels)[:, :, None, None]",
        "0 * self.labels[i](labels)[:, :, None, None]",
        "test_pixelcnn.py::test_it_is_a_density_of_codes_given_a_class",
    ),
    # ---- G2
    # ---- G3
    # ---- G4
    # ---- G5
    # ---- G6
    # ---- G8
    Mutation(
        "G8",
        "models/adversarial/gan.py",
        "fake = model.sample(n, rng=state.rng).detach()",
        "fake = model.sample(n, rng=state.rng)",
        "test_gan.py::test_samples_come_to_the_critics_update_without_their_graph",
    ),
    Mutation(
        "G8",
        "models/adversarial/gan.py",
        'networks = {"generator": model.generator, ',
        'networks = {"generator": model, ',
        "test_gan.py::test_each_update_moves_one_network",
    ),
    Mutation(
        "G8",
        "models/adversarial/ring.py",
        "(nn.Linear(*pair, rng=rng), nn.ReLU())",
        "(nn.Linear(*pair, rng=rng), nn.BatchNorm1d(hidden), nn.ReLU())",
        "test_gan.py::test_a_critic_judges_each_point_by_itself",
    ),
    Mutation(
        "G8",
        "losses/adversarial.py",
        'ops.softplus(-logits).mean() if loss == "non_saturating" else -ops.softplus(logits).mean()',
        "-ops.softplus(logits).mean()",
        "test_adversarial_losses.py::test_minimax_gradients_vanish_where_the_discriminator_is_sure",
    ),
    Mutation(
        "G8",
        "losses/adversarial.py",
        "return ops.softplus(-as_tensor(real)).mean() + ops.softplus(as_tensor(fake)).mean()",
        "return ops.softplus(as_tensor(real)).mean() + ops.softplus(-as_tensor(fake)).mean()",
        "test_gan.py::test_a_trained_discriminator_is_p_over_p_plus_p_g",
    ),
    # ---- G9
    Mutation(
        "G9",
        "optimal_transport.py",
        "        (plan * cost).sum(),\n",
        "        (p * f).sum() + (q * g).sum(),\n",
        "test_sinkhorn.py::test_neither_number_is_the_distance_and_both_tend_to_it",
    ),
    Mutation(
        "G9",
        "models/adversarial/ring.py",
        "distance = np.linalg.norm(x[:, None] - y, axis=2)",
        "return float(((np.sort(x, 0) - np.sort(y, 0)) ** 2).mean())",
        "test_gan.py::test_the_distance_of_samples_is_the_exact_one",
    ),
    Mutation(
        "G9",
        "optimal_transport.py",
        "return ops.sort(x @ directions, axis=0)",
        "return ops.sort(x, axis=0)",
        "test_sinkhorn.py::test_equal_marginals_do_not_hide_a_difference",
    ),
    Mutation(
        "G9",
        "algorithms/optimal_transport.py",
        "min(down[::2][::-1] + up[::2], ",
        "min(up[::2] + down[::2], ",
        "test_optimal_transport.py::test_the_tree_stays_strongly_feasible",
    ),
    Mutation(
        "G9",
        "algorithms/compiled/optimal_transport.py",
        "if least_b <= least:",
        "if least_b < least:",
        "test_optimal_transport.py::test_both_ways_make_the_same_pivots",
    ),
    Mutation(
        "G9",
        "algorithms/optimal_transport.py",
        "found: Array = (cost - potential).min(axis=1)",
        "found: Array = (cost - potential).max(axis=1)",
        "test_optimal_transport.py::test_c_transforms_tighten_once",
    ),
    Mutation(
        "G9",
        "algorithms/optimal_transport.py",
        "return Farkas(None, [sign * (1 - cost)",
        "return Farkas(None, [(1 - cost)",
        "test_optimal_transport.py::test_either_a_solution_or_a_proof_that_there_is_none",
    ),
    # ---- G10
    Mutation(
        "G10",
        "losses/adversarial.py",
        "share = as_tensor(epsilon).reshape(n, ",
        "share = (0 * as_tensor(epsilon) + as_tensor(epsilon)[0]).reshape(n, ",
        "test_adversarial_losses.py::test_the_penalty_is_taken_at_a_point_of_its_own_for_each_pair",
    ),
    Mutation(
        "G10",
        "losses/adversarial.py",
        "(between).reshape(n, -1), axis=1)  # (N,)",
        "(between).reshape(n, -1), axis=0)  # (N,)",
        "test_adversarial_losses.py::test_the_penalty_of_a_linear_critic",
    ),
    Mutation(
        "G10",
        "losses/adversarial.py",
        "(between).reshape(n, -1), axis=1)  # (N,)",
        "(between).detach().reshape(n, -1), axis=1)  # (N,)",
        "test_adversarial_losses.py::test_the_penalty_reaches_the_parameters",
    ),
    Mutation(
        "G10",
        "losses/adversarial.py",
        "BatchNorm3d) and module.training:",
        "BatchNorm3d) and not module.training:",
        "test_adversarial_losses.py::test_errors",
    ),
    Mutation(
        "G10",
        "models/adversarial/wgan_gp.py",
        "(loss + config.weight * penalty).backward()",
        "loss.backward()",
        "test_wgan.py::test_the_penalty_takes_part_in_the_critics_update",
    ),
    Mutation(
        "G10",
        "models/adversarial/wgan_gp.py",
        "fake = model.sample(n, rng=state.rng).detach()",
        "fake = model.sample(n, rng=state.rng)",
        "test_gan.py::test_samples_come_to_the_critics_update_without_their_graph",
    ),
    Mutation(
        "G10",
        "models/adversarial/wgan_clip.py",
        "        clip_weights(model.critic, config.clip)\n",
        "",
        "test_wgan.py::test_weights_of_the_critic_alone_are_clipped_in_place",
    ),
    Mutation(
        "G10",
        "models/adversarial/critic_slope.py",
        'f"{name}_estimate": gap / mean}',
        'f"{name}_estimate": gap}',
        "test_wgan.py::test_estimates_of_a_perfect_critic",
    ),
    # ---- F1
    Mutation(
        "F1",
        "models/flows/transforms.py",
        "log_prob(z) + log_det",
        "log_prob(z)",
        "test_flows.py::test_the_density_integrates_to_one",
    ),
    Mutation(
        "F1",
        "models/flows/transforms.py",
        "log_prob(z) - log_det",
        "log_prob(z) + log_det",
        "test_flows.py::test_sample_and_log_prob_agree",
    ),
    Mutation(
        "F1",
        "models/flows/transforms.py",
        "z, log_det = transform(z)\n            total = total + log_det",
        "z, log_det = transform(z)\n            total = total - log_det",
        "test_flows.py::test_laws",
    ),
    Mutation(
        "F1",
        "models/flows/couplings.py",
        "t, s.sum(axis=1)",
        "t, s.sum().broadcast_to((len(x),))",
        "test_flows.py::test_laws",
    ),
    Mutation(
        "F1",
        "models/flows/planar.py",
        "slope = ops.softplus(a) - 1",
        "slope = a",
        "test_flows.py::test_planar_and_radial_flows_do_not_fold",
    ),
    Mutation(
        "F1",
        "models/flows/planar.py",
        "ops.softplus(self.beta) - alpha",
        "self.beta",
        "test_flows.py::test_planar_and_radial_flows_do_not_fold",
    ),
    Mutation(
        "F1",
        "models/flows/transforms.py",
        "temperature * self.base.sample((n,), rng=rng))",
        "self.base.mean + 1.1 * self.base.sample((n,), rng=rng))",
        "test_flows.py::test_sample_and_log_prob_agree",
    ),
    Mutation(
        "F1",
        "models/flows/planar_flow.py",
        "flow.base.log_prob(z) - log_det",
        "flow.base.log_prob(z)",
        "test_planar_flow.py::test_the_measured_divergence_is_the_one_of_the_densities_on_a_grid",
    ),
    # ---- F2
    Mutation(
        "F2",
        "models/flows/nice.py",
        "[*before, *couplings, Scaling(dim)]",
        "[*before, *couplings]",
        "test_nice.py::test_volume_changes_by_the_scaling_alone",
    ),
    Mutation(
        "F2",
        "models/flows/nice.py",
        "[AdditiveCoupling(dim",
        '[__import__("tinygrad_zoo").models.flows.AffineCoupling(dim',
        "test_nice.py::test_volume_changes_by_the_scaling_alone",
    ),
    Mutation(
        "F2",
        "models/flows/nice_digits.py",
        "log_prob(dequantize(counts, LEVELS, state.rng))",
        "log_prob(counts / LEVELS)",
        "test_nice.py::test_the_steps_see_other_noise_each_time",
    ),
    Mutation(
        "F2",
        "models/flows/preprocessing.py",
        "(x + ops.standard_uniform(key, shape=x.shape, dtype=x.dtype)) / levels",
        "x / levels",
        "test_flows.py::test_counts_are_spread_over_their_cells",
    ),
    Mutation(
        "F2",
        "models/flows/preprocessing.py",
        "self.log_det.broadcast_to((len(x),))",
        "self._no_log_det(x)",
        "test_flows.py::test_whitening_under_a_standard_normal_is_the_fitted_gaussian",
    ),
    Mutation(
        "F2",
        "models/flows/nice.py",
        "parity=k % 2",
        "parity=0",
        "test_nice.py::test_every_coordinate_depends_on_every_other",
    ),
    # ---- F3
    Mutation(
        "F3",
        "models/flows/couplings.py",
        "return bound * ops.tanh(s / bound)",
        "return s",
        "test_flows.py::test_computed_scales_are_bounded",
    ),
    Mutation(
        "F3",
        "models/flows/real_nvp.py",
        "parity=k % 2",
        "parity=0",
        "test_flows.py::test_a_single_mask_parity_leaves_coordinates_as_they_are",
    ),
    Mutation(
        "F3",
        "models/flows/glow_blocks.py",
        "if len(constant):",
        "if False:",
        "test_flows.py::test_actnorm_starts_from_the_data",
    ),
    Mutation(
        "F3",
        "models/flows/glow_blocks.py",
        "(self.places * self.log_s.sum())",
        "self.log_s.sum()",
        "test_flows.py::test_laws",
    ),
    Mutation(
        "F3",
        "models/flows/glow_blocks.py",
        "(self.places * self.log_scale.sum())",
        "self.log_scale.sum()",
        "test_flows.py::test_laws",
    ),
    Mutation(
        "F3",
        "models/flows/glow.py",
        "    model.initialise(tensor(digit_pixels.dequantized(data)))\n",
        "",
        "test_glow.py::test_it_starts_from_the_data",
    ),
    Mutation(
        "F3",
        "models/flows/glow_blocks.py",
        "        for x in last.parameters():\n            nn.init.zeros_(x)\n",
        "",
        "test_flows.py::test_fresh_couplings_are_the_identity",
    ),
    Mutation("F3", "models/flows/glow_blocks.py", "log_det - s.sum(axis=1)", "log_det", "test_flows.py::test_laws"),
    Mutation("F3", "models/flows/transforms.py", "return z, total", "return z, -total", "test_flows.py::test_laws"),
    # ---- L2
    # ---- L3
    # ---- M1
    # ---- M2
    # ---- M3
]
