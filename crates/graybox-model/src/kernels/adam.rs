//! Adam on slices.

use pulp::{Simd, WithSimd};

use super::vectorize;

/// The numbers of one step; see [`crate::AdamStep`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adam {
    pub(crate) beta_1: f32,
    pub(crate) beta_2: f32,
    /// Times `√(1 − β₂ᵗ)`.
    pub(crate) epsilon: f32,
    /// `√(1 − β₂ᵗ) / (1 − β₁ᵗ)`
    pub(crate) combined: f32,
    pub(crate) rate: f32,
}

impl Adam {
    /// Moves the parameters `p` along the gradient `g`; `m` and `v` are the means of `g` and `g²`.
    pub(crate) fn step(self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        vectorize(Step {
            adam: self,
            p,
            g,
            m,
            v,
        });
    }

    #[inline(always)]
    fn update<S: Simd>(
        self,
        simd: S,
        p: S::f32s,
        g: S::f32s,
        m: S::f32s,
        v: S::f32s,
    ) -> [S::f32s; 3] {
        // No fused multiply-add: the digits are to be those of the composed form.
        let decay = |beta: f32, mean: S::f32s, new: S::f32s| {
            let kept = simd.mul_f32s(mean, simd.splat_f32s(beta));
            simd.add_f32s(kept, simd.mul_f32s(new, simd.splat_f32s(1.0 - beta)))
        };
        let m = decay(self.beta_1, m, g);
        let v = decay(self.beta_2, v, simd.mul_f32s(g, g));
        let root = simd.add_f32s(simd.sqrt_f32s(v), simd.splat_f32s(self.epsilon));
        let step = simd.div_f32s(simd.mul_f32s(m, simd.splat_f32s(self.combined)), root);
        let p = simd.sub_f32s(p, simd.mul_f32s(step, simd.splat_f32s(self.rate)));
        [p, m, v]
    }
}

struct Step<'a> {
    adam: Adam,
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (p, p_rest) = S::as_mut_simd_f32s(self.p);
        let (g, g_rest) = S::as_simd_f32s(self.g);
        let (m, m_rest) = S::as_mut_simd_f32s(self.m);
        let (v, v_rest) = S::as_mut_simd_f32s(self.v);
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            [*p, *m, *v] = self.adam.update(simd, *p, *g, *m, *v);
        }
        if !g_rest.is_empty() {
            let [p, m, v] = self.adam.update(
                simd,
                simd.partial_load_f32s(p_rest),
                simd.partial_load_f32s(g_rest),
                simd.partial_load_f32s(m_rest),
                simd.partial_load_f32s(v_rest),
            );
            simd.partial_store_f32s(p_rest, p);
            simd.partial_store_f32s(m_rest, m);
            simd.partial_store_f32s(v_rest, v);
        }
    }
}
