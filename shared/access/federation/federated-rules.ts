import * as v from 'valibot';
import { computeFingerprint } from '../../core/fingerprint.ts';
import type { FederationRule } from './issuers.ts';

export const federatedRulesSchema = v.object({
  issuer: v.string(),
  audience: v.string(),
  /** A fingerprint of each rule. */
  rules: v.array(v.string()),
});

/** The rules by which an access token was issued. */
export type FederatedRules = v.InferOutput<typeof federatedRulesSchema>;

/** Returns a text that differs for rules that differ in anything but their scopes, which are read again with each request. */
export function fingerprintRule({ scopes: _, ...rule }: FederationRule): string {
  return computeFingerprint(rule).toString('base64url');
}
