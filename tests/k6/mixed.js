// Everything at once: the rules of each hold while the others are at work.

import * as invalidations from './invalidation.js';
import * as limits from './limits.js';
import * as signed from './signatures.js';
import { options as combine } from './lib/settings.js';

export { handleSummary } from './lib/report.js';
export { invalidation } from './invalidation.js';
export { greedy, patient, steady } from './limits.js';
export { copies, signatures } from './signatures.js';

const parts = [limits, signed, invalidations];
export const options = combine(
  Object.assign({}, ...parts.map((part) => part.scenarios)),
  Object.assign({}, ...parts.map((part) => part.rules)),
);
