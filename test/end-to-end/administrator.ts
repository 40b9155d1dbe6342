import OpenAI from 'openai';
import type { Service } from './service.ts';

export type Administrator = ReturnType<typeof createAdministrator>;

/** Returns an administrator of a local service. */
export function createAdministrator({ cloud }: Service) {
  const { organization } = new OpenAI({ baseURL: cloud.url, adminAPIKey: 'sk-admin-local', maxRetries: 0 }).admin;
  const createKey = async (project: string, name: string) => {
    const { api_key: key } = await organization.projects.serviceAccounts.create(project, { name });
    return { id: key?.id ?? '', value: key?.value ?? '' };
  };
  return {
    organization,
    /** Sends a request below `/v1/organization/projects/` that the client has no method for. */
    send: async (method: string, path: string, body?: object) => {
      const response = await fetch(`${cloud.url}/organization/projects/${path}`, {
        method,
        headers: { authorization: 'Bearer sk-admin-local', 'content-type': 'application/json' },
        ...(body && { body: JSON.stringify(body) }),
      });
      return { status: response.status, json: JSON.parse(await response.text()) };
    },
    /** Creates a project with two keys. */
    createProject: async () => {
      const { id: project } = await organization.projects.create({ name: 'Website' });
      return { project, key: await createKey(project, 'web'), other: await createKey(project, 'shop') };
    },
  };
}
