import * as v from 'valibot';
import type { ActiveCertificate, Restrictions } from '../access/policy.ts';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { arrayOf, object, string, text } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodilessRoute,
  createBodyRoute,
  getPathParameter,
  listObjects,
} from './admin-routes.ts';
import {
  type Certificate,
  type CertificateDetails,
  createCertificates,
  isSame,
  parseCertificate,
  readDetails,
  toActive,
} from './certificates.ts';
import { createObjectId, objectNotFoundError } from './object-table.ts';
import { type FindLevel, findOrganization, findProjectLevel, type RestrictedLevel } from './policy-parts.ts';
import { createProjects } from './projects.ts';
import { readList } from './query.ts';

/** OpenAI's limits. */
const MAX_CERTIFICATES = 50;
const MAX_IDS = 10;

const name = v.nullish(text({ min: 1, max: 256 }));
const createBody = object({ certificate: text({ min: 1, max: 10_000 }), name });
const updateBody = object({ name });
const idsBody = object({ certificate_ids: arrayOf(string, 'strings', { min: 1, max: MAX_IDS }) });

/**
 * Creates the routes of the certificates that clients of the organization and of projects must have or be signed by. Without
 * mutual TLS, requests come without certificates, and each route responds with an error that names the setting.
 */
export function createCertificateRoutes(api: AdminApi) {
  const routes = createRoutes(api);
  return api.hasMutualTls ? routes : replaceAll(routes, unsupported);
}

function replaceAll<Name extends string, T>(routes: Readonly<Record<Name, unknown>>, route: T): Record<Name, T> {
  return Object.fromEntries(Object.keys(routes).map((name) => [name, route])) as Record<Name, T>;
}

const unsupported = createBodilessRoute(async (): Promise<never> => {
  throw new LambentError(
    'unsupported_value',
    'Certificates require mutual TLS: the setting `domainTruststore` of the deployment is empty.',
  );
});

function createRoutes(api: AdminApi) {
  const certificates = createCertificates(api);
  const getCertificate = (request: HttpRequest) =>
    certificates.get(ORGANIZATION, getPathParameter(request, 'certificate'));
  const organization = createLevelRoutes(api, findOrganization(api));
  const project = createLevelRoutes(api, findProjectLevel(api));

  return {
    'GET /v1/organization/certificates': organization.list,
    'POST /v1/organization/certificates/activate': organization.activate,
    'POST /v1/organization/certificates/deactivate': organization.deactivate,
    'GET /v1/organization/projects/{project}/certificates': project.list,
    'POST /v1/organization/projects/{project}/certificates/activate': project.activate,
    'POST /v1/organization/projects/{project}/certificates/deactivate': project.deactivate,

    'POST /v1/organization/certificates': createBodyRoute(
      createBody,
      async (request, { certificate: pem, name = null }) => {
        const now = api.now();
        const content = parseCertificate(pem, now);
        const details = readDetails({ content });
        let count = 1;
        for await (const other of certificates.listAll(ORGANIZATION)) {
          count += 1;
          if (isSame(readDetails(other), details))
            throw invalidValueError('certificate', `Invalid 'certificate': it was uploaded as ${other.id}.`);
        }
        if (count > MAX_CERTIFICATES)
          throw invalidValueError(
            'certificate',
            `There are ${MAX_CERTIFICATES} certificates already. Delete one first.`,
          );
        const certificate: Certificate = {
          id: createObjectId('cert', now),
          createdAt: Math.floor(now / 1000),
          name,
          content,
        };
        await certificates.create(ORGANIZATION, certificate);
        logAct(request.telemetry, {
          type: 'certificate.created',
          objectId: certificate.id,
          details: describe(certificate),
        });
        return encodeCertificate(certificate);
      },
    ),

    'GET /v1/organization/certificates/{certificate}': createAdminRoute(async (request) => {
      const include = readList(request.query, 'include') ?? [];
      if (include.some((field) => field !== 'content'))
        throw invalidValueError('include', "Invalid value for 'include'. Supported values are: 'content'.");
      const certificate = await getCertificate(request);
      return encodeCertificate(certificate, include.length > 0 ? { content: certificate.content } : {});
    }),

    'POST /v1/organization/certificates/{certificate}': createBodyRoute(updateBody, async (request, body) => {
      const { id } = await getCertificate(request);
      const updated = await certificates.update(ORGANIZATION, id, (each) => ({
        ...each,
        name: body.name ?? each.name,
      }));
      logAct(request.telemetry, { type: 'certificate.updated', objectId: id, details: describe(updated) });
      return encodeCertificate(updated);
    }),

    'DELETE /v1/organization/certificates/{certificate}': createAdminRoute(async (request) => {
      const certificate = await getCertificate(request);
      const { id, content } = certificate;
      await checkInactive(api, certificate);
      await certificates.delete(ORGANIZATION, id);
      try {
        // It may have been activated meanwhile: what is active must be there to be deactivated.
        await checkInactive(api, certificate);
      } catch (thrown) {
        await certificates.put(ORGANIZATION, certificate);
        throw thrown;
      }
      const details = { ...describe(certificate), certificate: content };
      logAct(request.telemetry, { type: 'certificate.deleted', objectId: id, details });
      return { id, object: 'certificate.deleted' as const };
    }),
  };
}

/** Creates the routes of what is active for the organization or a project. */
function createLevelRoutes(api: AdminApi, findLevel: FindLevel) {
  const certificates = createCertificates(api);

  async function change(request: HttpRequest, ids: readonly string[], act: 'activated' | 'deactivated') {
    const named = await Promise.all([...new Set(ids)].map((id) => certificates.get(ORGANIZATION, id)));
    const all = named.map((each) => ({ ...each, details: readDetails(each) }));
    if (act === 'activated') for (const each of all) checkValidity(each.id, each.details, api.now());
    const level = await findLevel(request, 'change');
    const remove = (active: readonly ActiveCertificate[] = []) =>
      active.filter((entry) => !all.some(({ details }) => isSame(entry, details)));
    const deactivate = () =>
      level.change((restrictions) => withCertificates(restrictions, remove(restrictions.certificates)));
    if (act === 'deactivated') await deactivate();
    else {
      await level.change((restrictions) =>
        withCertificates(restrictions, [
          ...remove(restrictions.certificates),
          ...all.map(({ details }) => toActive(details)),
        ]),
      );
      // A deletion that didn't see that it is active leaves nothing to deactivate.
      const found = await Promise.all(named.map(({ id }) => certificates.find(ORGANIZATION, id)));
      const deleted = named.find((_, index) => found[index] === undefined);
      if (deleted !== undefined) {
        await deactivate();
        throw objectNotFoundError('certificate', deleted.id);
      }
    }
    logAct(request.telemetry, {
      type: `certificates.${act}`,
      objectId: level.project ?? ORGANIZATION,
      ...omitUndefined({ project: level.project }),
      details: { certificates: named.map((each) => ({ id: each.id, ...describe(each) })) },
    });
    return {
      object: `${toTypeName(level)}.${act === 'activated' ? 'activation' : 'deactivation'}` as const,
      data: named.map((each) => encodeAt(level, each, act === 'activated')),
    };
  }

  return {
    list: createAdminRoute(async (request) => {
      const level = await findLevel(request, 'read');
      const { certificates: active = [] } = await level.read();
      return listObjects(request, certificates, ORGANIZATION, (each) => {
        const details = readDetails(each);
        return encodeAt(
          level,
          each,
          active.some((entry) => isSame(entry, details)),
        );
      });
    }),
    activate: createBodyRoute(idsBody, (request, body) => change(request, body.certificate_ids, 'activated')),
    deactivate: createBodyRoute(idsBody, (request, body) => change(request, body.certificate_ids, 'deactivated')),
  };
}

/** Returns restrictions with these certificates active, and without the section if none is. */
function withCertificates(
  { certificates: _, ...others }: Restrictions,
  active: readonly ActiveCertificate[],
): Restrictions {
  return active.length === 0 ? others : { ...others, certificates: active };
}

/** @throws LambentError `invalid_value` */
function checkValidity(id: string, { validAt, expiresAt }: CertificateDetails, now: number): void {
  const reason = expiresAt * 1000 <= now ? 'has expired' : validAt * 1000 > now ? 'is not valid yet' : undefined;
  if (reason !== undefined) throw invalidValueError('certificate_ids', `The certificate ${id} ${reason}.`);
}

/** @throws LambentError `invalid_value` if a certificate is active for the organization or for a project that isn't archived */
async function checkInactive(api: AdminApi, certificate: Certificate): Promise<void> {
  const details = readDetails(certificate);
  const check = ({ certificates = [] }: Restrictions, where: string) => {
    if (certificates.some((entry) => isSame(entry, details)))
      throw invalidValueError(
        'certificate_id',
        `The certificate ${certificate.id} is active for ${where}. Deactivate it there first.`,
      );
  };
  check(await api.policies.readAccount(), 'the organization');
  for await (const { id, archivedAt } of createProjects(api).listAll(ORGANIZATION))
    if (archivedAt === null) check((await api.policies.readProject(id)).restrictions, `the project ${id}`);
}

/** Returns what the audit log has of a certificate besides its id. */
function describe({ name }: Certificate): { readonly name?: string } {
  return name === null ? {} : { name };
}

const toTypeName = ({ project }: RestrictedLevel): string =>
  project === undefined ? 'organization.certificate' : 'organization.project.certificate';

function encodeAt(level: RestrictedLevel, certificate: Certificate, active: boolean) {
  return { ...encodeCertificate(certificate), object: toTypeName(level), active };
}

function encodeCertificate(certificate: Certificate, details: { readonly content?: string } = {}) {
  const { validAt, expiresAt } = readDetails(certificate);
  const { id, name, createdAt } = certificate;
  return {
    id,
    object: 'certificate' as const,
    name,
    created_at: createdAt,
    certificate_details: { valid_at: validAt, expires_at: expiresAt, ...details },
  };
}
