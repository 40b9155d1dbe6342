import type { JWTPayload } from 'jose';

/** The claims of tokens as issuers make them, without `iss` and the times, and rules that admit them. */
export interface TokenShape {
  readonly path: string;
  readonly audience: string;
  readonly claims: JWTPayload;
  readonly matchers: Readonly<Record<string, string>>;
  readonly attributes?: Record<string, string[]>;
}

export const TOKEN_SHAPES: Readonly<Record<string, TokenShape>> = {
  // https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
  "Cognito's access tokens": {
    path: '/eu-west-1_EXAMPLE',
    audience: '1example23456789',
    claims: {
      sub: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
      'cognito:groups': ['writers', 'lambent'],
      version: 2,
      client_id: '1example23456789',
      origin_jti: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
      event_id: 'bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee',
      token_use: 'access',
      scope: 'openid',
      auth_time: 1_676_312_777,
      jti: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
      username: 'my-test-user',
    },
    matchers: { 'cognito:groups': 'lambent' },
  },
  // https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-id-token.html
  "Cognito's id tokens": {
    path: '/eu-west-1_EXAMPLE',
    audience: '1example23456789',
    claims: {
      sub: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
      'cognito:groups': ['lambent'],
      email_verified: true,
      'cognito:username': 'my-test-user',
      aud: '1example23456789',
      token_use: 'id',
      email: 'my-test-user@example.com',
    },
    matchers: { group: 'lambent', token_use: 'id' },
    attributes: { group: ['cognito:groups'] },
  },
  // https://learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference
  "Entra ID's access tokens": {
    path: '/9122040d-6c67-4c5b-b112-36a304b66dad/v2.0',
    audience: '6e74172b-be56-4843-9ff4-e66a39bb12e3',
    claims: {
      aud: '6e74172b-be56-4843-9ff4-e66a39bb12e3',
      azp: '11111111-1111-1111-1111-111111111111',
      azpacr: '1',
      oid: '22222222-2222-2222-2222-222222222222',
      roles: ['Lambent.Generate'],
      sub: '22222222-2222-2222-2222-222222222222',
      tid: '9122040d-6c67-4c5b-b112-36a304b66dad',
      ver: '2.0',
    },
    matchers: { roles: 'Lambent.Generate', azp: '11111111-1111-1111-1111-111111111111' },
  },
  // https://www.keycloak.org/docs/latest/server_admin/
  "Keycloak's access tokens": {
    path: '/realms/shop',
    audience: 'lambent',
    claims: {
      jti: '9c2fa1a1-0a5e-4b1f-9d2c-1f0e6a1d3c11',
      aud: ['lambent', 'account'],
      sub: 'f1b0a7c2-6a4a-4b0b-8f0f-0f5f3a1f4d7e',
      typ: 'Bearer',
      azp: 'shop-backend',
      acr: '1',
      realm_access: { roles: ['offline_access', 'model-user'] },
      resource_access: { account: { roles: ['view-profile'] } },
      scope: 'profile email',
      preferred_username: 'service-account-shop-backend',
    },
    matchers: { 'realm_access.roles': 'model-user', azp: 'shop-backend' },
  },
  // https://docs.github.com/en/actions/reference/security/oidc
  "GitHub Actions' tokens": {
    path: '',
    audience: 'lambent',
    claims: {
      jti: 'example-id',
      sub: 'repo:octo-org/octo-repo:environment:prod',
      aud: 'lambent',
      ref: 'refs/heads/main',
      sha: 'example-sha',
      repository: 'octo-org/octo-repo',
      repository_owner: 'octo-org',
      repository_id: '74',
      repository_owner_id: '65',
      run_id: 'example-run-id',
      actor: 'octocat',
      workflow: 'example-workflow',
      event_name: 'workflow_dispatch',
      ref_type: 'branch',
      job_workflow_ref: 'octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main',
      environment: 'prod',
    },
    matchers: { repository_id: '74', ref: 'refs/heads/main', environment: 'prod' },
  },
};
