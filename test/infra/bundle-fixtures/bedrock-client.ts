import { BedrockRuntimeClient, ConverseCommand } from '@aws-sdk/client-bedrock-runtime';

const client = new BedrockRuntimeClient();

export const converse = () => client.send(new ConverseCommand({ modelId: 'some-model', messages: [] }));
